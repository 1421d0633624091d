"""The bulk reader on real Kafka: what it sees, where it ends, and how it says no."""

from __future__ import annotations

import socket
import time

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]
from msgspec.structs import replace

from streams.cuts import Cut
from streams.errors import BrokerError, LogError
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition


@pytest.fixture
def topic(kafka: str, namespace: str) -> str:
    """A topic of one partition with append times."""
    name = f"{namespace}.tasks"
    admin = AdminClient({"bootstrap.servers": kafka})
    config = {"message.timestamp.type": "LogAppendTime"}
    for future in admin.create_topics([NewTopic(name, 1, 1, config=config)]).values():
        future.result()
    return name


def produce(kafka: str, topic: str, *batches: tuple[str, int], transactional: bool = True) -> None:
    """Write batches of records, each in a transaction that ends as named."""
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "linger.ms": 0,
            **({"transactional.id": topic} if transactional else {}),
        }
    )
    if transactional:
        producer.init_transactions(30)
    for ending, count in batches:
        if transactional:
            producer.begin_transaction()
        for n in range(count):
            producer.produce(topic, f"{ending}-{n}".encode(), b"key", headers=[("h", b"1")])
        producer.flush()
        if transactional:
            (producer.commit_transaction if ending == "commit" else producer.abort_transaction)(30)


def read(reader: KafkaLogReader, cut: Cut) -> list[bytes | None]:
    return [
        record.value
        for source, end in cut
        for batch in reader.read(source, 0, end)
        for record in batch
    ]


def test_a_range_ends_behind_markers_and_aborted_records(kafka: str, topic: str) -> None:
    """The last records are aborted and a marker; the read ends, and shows only what committed."""
    produce(kafka, topic, ("commit", 3), ("abort", 4))
    with KafkaLogReader(kafka, silence_s_max=10) as reader:
        cut = reader.ends([topic])
        assert cut.ends == {Partition(topic, 0): 9}
        began = time.monotonic()
        assert read(reader, cut) == [b"commit-0", b"commit-1", b"commit-2"]
        assert list(reader.read(Partition(topic, 0), 4, 9)) == []
        assert time.monotonic() - began < 5


def test_a_range_is_half_open(kafka: str, topic: str) -> None:
    """start ≤ position < end, with keys, headers and append times."""
    produce(kafka, topic, ("plain", 10), transactional=False)
    with KafkaLogReader(kafka) as reader:
        source = Partition(topic, 0)
        records = [it for batch in reader.read(source, 2, 5) for it in batch]
        assert [it.position for it in records] == [2, 3, 4]
        assert records[0].key == b"key"
        assert records[0].headers == (("h", b"1"),)
        assert records[0] == replace(records[0], headers=(("h", b"1"),))
        assert records[0].headers == records[1].headers
        assert (len(records[0].headers), records[0].headers[0]) == (1, ("h", b"1"))
        assert hash(records[0].headers) == hash((("h", b"1"),))
        assert abs(records[0].appended_at_ms - time.time() * 1000) < 60_000
        assert list(reader.read(source, 5, 5)) == []
        again = [it.position for batch in reader.read(source, 7, 10) for it in batch]
        assert again == [7, 8, 9]  # on the warm consumer


def test_a_moment_holds_what_was_appended_up_to_it(kafka: str, topic: str) -> None:
    """A cut at a time ends behind the last record of that millisecond."""
    produce(kafka, topic, ("first", 2), transactional=False)
    with KafkaLogReader(kafka) as reader:
        source = Partition(topic, 0)
        first = [it for batch in reader.read(source, 0, 2) for it in batch]
        while int(time.time() * 1000) <= first[-1].appended_at_ms:
            pass
        produce(kafka, topic, ("second", 2), transactional=False)
        at = reader.ends_at([topic], first[-1].appended_at_ms)
        assert at.ends[source] == 2
        for before in (0, -1, -2, -3, -(10**15)):
            assert reader.ends_at([topic], before).ends[source] == 0
        assert reader.ends_at([topic], int(time.time() * 1000) + 60_000).ends[source] == 4


@pytest.mark.parametrize(("start", "end"), [(50, 60), (0, 10)])
def test_a_range_that_is_not_there_is_refused(kafka: str, topic: str, start: int, end: int) -> None:
    """Beyond the end, or removed at the beginning: a `LogError` that names the partition."""
    produce(kafka, topic, ("plain", 10), transactional=False)
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([TopicPartition(topic, 0, 5)]).values():
        future.result()
    with KafkaLogReader(kafka) as reader:
        assert reader.starts([topic]) == {Partition(topic, 0): 5}
        with pytest.raises(LogError, match=r"tasks\[0\]"):
            list(reader.read(Partition(topic, 0), start, end))


def test_an_unknown_topic_is_named(kafka: str, namespace: str) -> None:
    """Asking for a topic that does not exist names it and the way out."""
    with KafkaLogReader(kafka) as reader, pytest.raises(LogError, match="topics apply"):
        reader.ends([f"{namespace}.nothing"])


def test_a_silent_broker_is_given_up() -> None:
    """A port that accepts and never answers is a `BrokerError` within the deadline."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        servers = f"127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        with KafkaLogReader(servers, silence_s_max=1) as reader:
            with pytest.raises(BrokerError):
                reader.ends(["any"])
            with pytest.raises(BrokerError, match=r"any\[0\]"):
                list(reader.read(Partition("any", 0), 0, 5))
        assert time.monotonic() - began < 20
