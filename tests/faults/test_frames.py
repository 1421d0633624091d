"""What the proxy reads on the wire, and the one thing that it writes there."""

from __future__ import annotations

import struct

import pytest

from tests.faults import frames
from tests.faults.frames import NotKafka, Splitter, TransactionRequest


def framed(body: bytes) -> bytes:
    return struct.pack(">i", len(body)) + body


def request(api_key: int, version: int, body: bytes, client: bytes | None = b"rdkafka") -> bytes:
    head = struct.pack(">hhih", api_key, version, 7, -1 if client is None else len(client))
    return framed(head + (client or b"") + body)


def named(transactional_id: str, producer_id: int, epoch: int) -> bytes:
    name = transactional_id.encode()
    return struct.pack(">h", len(name)) + name + struct.pack(">qh", producer_id, epoch)


def parsed(frame: bytes) -> TransactionRequest | None:
    return frames.transaction_request(frame, frames.request(frame))


@pytest.mark.parametrize("step", [1, 2, 5, 1000])
def test_frames_come_whole_however_bytes_arrive(step: int) -> None:
    """Split anywhere; what has not arrived yet is kept."""
    sent = [framed(bytes([n]) * size) for n, size in enumerate((1, 3, 90))]
    stream = b"".join(sent) + framed(b"unfinished")[:-1]
    splitter = Splitter()
    got = [
        frame
        for at in range(0, len(stream), step)
        for frame in splitter.feed(stream[at : at + step])
    ]
    assert got == sent


@pytest.mark.parametrize("size", [-1, 0, frames.FRAME_BYTES_MAX + 1])
def test_what_is_no_frame_is_refused(size: int) -> None:
    """Rather than waited for."""
    with pytest.raises(NotKafka):
        list(Splitter().feed(struct.pack(">i", size)))


@pytest.mark.parametrize("client", [b"rdkafka", b"", None])
def test_an_end_of_a_transaction_is_read(client: bytes | None) -> None:
    """Whose, of which epoch, and whether it commits; whatever the client calls itself."""
    for commits in (True, False):
        body = named("ns.group.run", 4_000_000_007, 3) + bytes([commits])
        assert parsed(request(frames.END_TXN, 1, body, client)) == TransactionRequest(
            frames.END_TXN, "ns.group.run", 4_000_000_007, 3, commits
        )


def test_partitions_added_to_a_transaction_are_read() -> None:
    """They tell that it has begun."""
    body = named("t", 1, 0) + b"\0\0\0\0"
    found = parsed(request(frames.ADD_PARTITIONS_TO_TXN, 0, body))
    assert found == TransactionRequest(frames.ADD_PARTITIONS_TO_TXN, "t", 1, 0)


def test_other_requests_are_none_of_its_business() -> None:
    """A fetch is passed on unread."""
    assert parsed(request(frames.FETCH, 16, b"")) is None


def test_a_version_it_does_not_know_is_an_error() -> None:
    """A proxy that silently saw nothing would show that nothing happened."""
    with pytest.raises(NotKafka):
        parsed(request(frames.END_TXN, 5, named("t", 1, 0)))
    with pytest.raises(NotKafka):
        parsed(request(frames.END_TXN, 1, b"\0\x09short"))


def test_an_answer_is_matched_and_its_error_read() -> None:
    """Correlation id, throttle time, error code."""
    response = framed(struct.pack(">iih", 7, 0, 90))
    assert (frames.correlation_id(response), frames.end_txn_error(response)) == (7, 90)


def test_brokers_ports_are_exchanged_wherever_they_are_named() -> None:
    """Behind the host, in both encodings of strings; other ports and other bytes stay."""
    host = b"127.0.0.1"
    classic = struct.pack(">h", len(host)) + host + struct.pack(">i", 9092)
    compact = bytes([len(host) + 1]) + host + struct.pack(">i", 9093)
    other = host + struct.pack(">i", 1)
    frame = framed(b"....." + classic + compact + other + host)
    expected = frame.replace(struct.pack(">i", 9092), struct.pack(">i", 40000)).replace(
        struct.pack(">i", 9093), struct.pack(">i", 40001)
    )
    assert frames.repointed(frame, "127.0.0.1", {9092: 40000, 9093: 40001}) == expected
    assert len(expected) == len(frame)
