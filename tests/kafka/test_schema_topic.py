"""The `schemas` topic as a source of writer schemas: when it looks, and when it does not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from streams.cuts import Cut
from streams.kafka.schema_topic import ABSENT_MAX, RELOAD_S_MIN, SchemaTopic
from streams.record import Partition, Record
from streams.topics import Namespace

TOPIC = Partition("n.schemas", 0)


class GrowingTopic:
    """A log of schemas in memory that counts how often it is looked at."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.looks = 0

    def announce(self, schema_id: int) -> None:
        self.records.append(
            Record(
                TOPIC.topic, 0, len(self.records), 1, b"%d" % schema_id, b"text of %d" % schema_id
            )
        )

    def starts(self, topics: Iterable[str]) -> dict[Partition, int]:
        del topics
        return {TOPIC: 0}

    def ends(self, topics: Iterable[str]) -> Cut:
        del topics
        self.looks += 1
        return Cut(cluster_id="c", topic_ids={TOPIC.topic: "t"}, ends={TOPIC: len(self.records)})

    def read(self, source: Partition, start: int, end: int) -> Iterator[Sequence[Record]]:
        del source
        yield self.records[start:end]


def test_an_id_announced_just_after_a_look_is_found_at_once() -> None:
    """It is announced before its first record: "unknown" would be wrong, and for good."""
    log = GrowingTopic()
    topic = SchemaTopic("", Namespace("n"), reader=log, monotonic_s=lambda: 0.0)
    log.announce(1)
    assert topic.writer_schema(1) == "text of 1"
    log.announce(2)
    assert topic.writer_schema(2) == "text of 2"


def test_an_absent_id_is_looked_for_once_a_second() -> None:
    log, now_s = GrowingTopic(), 0.0
    topic = SchemaTopic("", Namespace("n"), reader=log, monotonic_s=lambda: now_s)
    for _ in range(100):
        assert topic.writer_schema(3) is None
    assert log.looks == 1
    log.announce(3)
    now_s += RELOAD_S_MIN
    assert topic.writer_schema(3) == "text of 3"


def test_what_is_remembered_of_absent_ids_is_bounded() -> None:
    topic = SchemaTopic("", Namespace("n"), reader=GrowingTopic(), monotonic_s=lambda: 0.0)
    for schema_id in range(2 * ABSENT_MAX):
        topic.writer_schema(schema_id)
    assert len(topic._absent_at_s) <= ABSENT_MAX
