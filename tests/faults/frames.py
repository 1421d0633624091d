"""Kafka's frames on the wire, as far as the proxy looks into them. Pure.

A frame is a 4-byte size and so many bytes. A request begins with api key, api version and
correlation id (request header v1, https://kafka.apache.org/protocol), a response with the
correlation id alone. The transaction requests that the clients here send are of versions without
tagged fields, and all begin alike: transactional id, producer id, producer epoch.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

PRODUCE: Final = 0
FETCH: Final = 1
METADATA: Final = 3
FIND_COORDINATOR: Final = 10
INIT_PRODUCER_ID: Final = 22
ADD_PARTITIONS_TO_TXN: Final = 24
ADD_OFFSETS_TO_TXN: Final = 25
END_TXN: Final = 26
DESCRIBE_CLUSTER: Final = 60
CONSUMER_GROUP_HEARTBEAT: Final = 68

HEARTBEAT_ASSIGNS_BYTES: Final = 60
"""Bytes, at least, of an answer to a heartbeat that brings an assignment; others have fewer."""

NAMING: Final = frozenset({PRODUCE, FETCH, METADATA, FIND_COORDINATOR, DESCRIBE_CLUSTER})
"""Requests whose responses may tell the client where brokers are (KIP-951 for the first two)."""

FRAME_BYTES_MAX: Final = 128 * 1024 * 1024
"""No broker sends a larger one; what says so is not a frame."""

_SIZE: Final = struct.Struct(">i")
_REQUEST: Final = struct.Struct(">hhih")
_PRODUCER: Final = struct.Struct(">qh")
_LENGTH: Final = struct.Struct(">h")
_PORT: Final = struct.Struct(">i")
_FLEXIBLE_FROM: Final = {ADD_PARTITIONS_TO_TXN: 3, ADD_OFFSETS_TO_TXN: 3, END_TXN: 3}


class NotKafka(ValueError):
    """These bytes are not a frame that is looked into here."""


class Request(msgspec.Struct, frozen=True):
    """The head of a request."""

    api_key: int
    api_version: int
    correlation_id: int
    body_at: int
    """Where its body begins, from the frame's first byte."""


class TransactionRequest(msgspec.Struct, frozen=True):
    """A request of a transactional producer about its transaction."""

    api_key: int
    transactional_id: str
    producer_id: int
    epoch: int
    commits: bool | None = None
    """Of EndTxn alone: commit, or abort."""


class Splitter:
    """Bytes as they arrive, into whole frames, each with its size in front."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The frames that these bytes complete. Raises `NotKafka` for an impossible size."""
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= _SIZE.size:
                (size,) = _SIZE.unpack_from(buffer, at)
                if not 0 < size <= FRAME_BYTES_MAX:
                    raise NotKafka(f"a frame of {size} bytes")
                end = at + _SIZE.size + size
                if len(buffer) < end:
                    return
                yield bytes(memoryview(buffer)[at:end])
                at = end
        finally:
            del buffer[:at]


def request(frame: bytes) -> Request:
    """The head of a request frame. Raises `NotKafka` if it is too short for one."""
    try:
        api_key, version, correlation_id, client = _REQUEST.unpack_from(frame, _SIZE.size)
    except struct.error as error:
        raise NotKafka(str(error)) from error
    return Request(api_key, version, correlation_id, _SIZE.size + _REQUEST.size + max(0, client))


def transaction_request(frame: bytes, head: Request) -> TransactionRequest | None:
    """What a request says about a transaction; None if it is not about one.

    Raises `NotKafka` for a version that is laid out differently: the proxy would be blind.
    """
    flexible_from = _FLEXIBLE_FROM.get(head.api_key)
    if flexible_from is None:
        return None
    if head.api_version >= flexible_from:
        raise NotKafka(f"version {head.api_version} of api {head.api_key} is not known here")
    try:
        (length,) = _LENGTH.unpack_from(frame, head.body_at)
        name_at = head.body_at + _LENGTH.size
        name = frame[name_at : name_at + length].decode()
        producer_id, epoch = _PRODUCER.unpack_from(frame, name_at + length)
        commits = None
        if head.api_key == END_TXN:
            commits = frame[name_at + length + _PRODUCER.size] != 0
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise NotKafka(f"api {head.api_key}: {error}") from error
    return TransactionRequest(head.api_key, name, producer_id, epoch, commits)


def correlation_id(response: bytes) -> int:
    """Which request a response frame answers."""
    try:
        (found,) = _SIZE.unpack_from(response, _SIZE.size)
    except struct.error as error:
        raise NotKafka(str(error)) from error
    return int(found)


def end_txn_error(response: bytes) -> int:
    """The error code of an EndTxn response, versions 0 to 2: it follows the throttle time."""
    return int(_LENGTH.unpack_from(response, 3 * _SIZE.size)[0])


def repointed(frame: bytes, host: str, ports: Mapping[int, int]) -> bytes:
    """The response with other ports behind `host`: real ones to those that stand for them.

    Wherever Kafka names a broker, in every version, its port follows its host; both keep their
    length, so no layout has to be known.
    """
    name = host.encode()
    found = bytearray(frame)
    at = found.find(name)
    while at >= 0:
        port_at = at + len(name)
        if port_at + _PORT.size <= len(found):
            (port,) = _PORT.unpack_from(found, port_at)
            if port in ports:
                _PORT.pack_into(found, port_at, ports[port])
        at = found.find(name, port_at)
    return bytes(found)
