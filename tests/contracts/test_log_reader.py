"""The contract of `LogReader`: what every log promises to whoever reads it by position."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final, Protocol

import pytest
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from streams.errors import BrokerError, LogError
from streams.kafka.configs import SILENT
from streams.kafka.reader import KafkaLogReader
from streams.memory import ManualClock, MemoryLog, MemoryLogReader
from streams.moments import TimedReader
from streams.record import Partition, Record

TIMEOUT_S: Final = 30


class Stage(Protocol):
    """One topic of one partition on some log, and the hands that write to it."""

    source: Partition

    @property
    def reader(self) -> TimedReader: ...

    def plain(self, *values: bytes) -> None:
        """Append records outside of transactions."""

    def transact(self, *values: bytes, commit: bool) -> None:
        """Append records in a transaction, and end it."""

    def leave_open(self, *values: bytes) -> None:
        """Append records in a transaction of another producer, which stays open."""

    def end_open(self) -> None:
        """Commit that transaction."""

    def remove_before(self, position: int) -> None:
        """As retention does."""

    def let_time_pass(self) -> int:
        """A moment after everything so far and before all that follows, epoch ms."""


class KafkaStage:
    def __init__(self, servers: str, topic: str) -> None:
        self.source = Partition(topic, 0)
        self.reader = KafkaLogReader(servers, silence_s_max=3)
        self._servers = servers
        self._admin = AdminClient({"bootstrap.servers": servers})
        config = {"message.timestamp.type": "LogAppendTime"}
        for future in self._admin.create_topics([NewTopic(topic, 1, 1, config=config)]).values():
            future.result()
        self._plain = KafkaProducer({"bootstrap.servers": servers}, logger=SILENT)
        self._transactional: dict[str, KafkaProducer] = {}

    def plain(self, *values: bytes) -> None:
        self._produce(self._plain, values)

    def transact(self, *values: bytes, commit: bool) -> None:
        producer = self._begun("a")
        self._produce(producer, values)
        (producer.commit_transaction if commit else producer.abort_transaction)(TIMEOUT_S)

    def leave_open(self, *values: bytes) -> None:
        self._produce(self._begun("b"), values)

    def end_open(self) -> None:
        self._transactional["b"].commit_transaction(TIMEOUT_S)

    def remove_before(self, position: int) -> None:
        where = TopicPartition(*self.source, position)
        for future in self._admin.delete_records([where]).values():
            future.result()

    def let_time_pass(self) -> int:
        now_ms = int(time.time() * 1000) + 1
        while int(time.time() * 1000) <= now_ms:
            time.sleep(0.001)
        return now_ms

    def _begun(self, name: str) -> KafkaProducer:
        producer = self._transactional.get(name)
        if producer is None:
            transactional_id = f"{self.source.topic}-{name}"
            config = {"bootstrap.servers": self._servers, "transactional.id": transactional_id}
            producer = self._transactional[name] = KafkaProducer(config, logger=SILENT)
            producer.init_transactions(TIMEOUT_S)
        producer.begin_transaction()
        return producer

    def _produce(self, producer: KafkaProducer, values: tuple[bytes, ...]) -> None:
        for value in values:
            producer.produce(
                self.source.topic, value or None, b"key", partition=0, headers=[("h", b"1")]
            )
        assert producer.flush(TIMEOUT_S) == 0


class MemoryStage:
    def __init__(self, topic: str) -> None:
        self.source = Partition(topic, 0)
        self._clock = ManualClock(time.time_ns() // 1000)
        self._log = MemoryLog(self._clock)
        self._log.create_topic(topic, 1)
        self.reader = MemoryLogReader(self._log)
        self._a = self._log.init_producer("a")
        self._b = self._log.init_producer("b")

    def plain(self, *values: bytes) -> None:
        for value in values:
            self._log.append(self.source, b"key", value or None, (("h", b"1"),))

    def transact(self, *values: bytes, commit: bool) -> None:
        for value in values:
            self._log.append(self.source, b"key", value or None, producer=self._a)
        (self._log.commit if commit else self._log.abort)(self._a)

    def leave_open(self, *values: bytes) -> None:
        for value in values:
            self._log.append(self.source, b"key", value or None, producer=self._b)

    def end_open(self) -> None:
        self._log.commit(self._b)

    def remove_before(self, position: int) -> None:
        self._log.remove_before(self.source, position)

    def let_time_pass(self) -> int:
        self._clock.advance_ms(2)
        now_ms = self._clock.now_us() // 1000 - 1
        self._clock.advance_ms(1)
        return now_ms


@pytest.fixture(params=["kafka", "memory"])
def stage(request: pytest.FixtureRequest, namespace: str) -> Iterator[Stage]:
    """The same test on every log."""
    topic = f"{namespace}.tasks"
    if request.param == "memory":
        yield MemoryStage(topic)
        return
    with_kafka = KafkaStage(request.getfixturevalue("kafka"), topic)
    yield with_kafka
    with_kafka.reader.close()


def end(stage: Stage) -> int:
    """The end of the partition, as the reader tells it."""
    ends = stage.reader.ends([stage.source.topic]).ends
    assert ends.keys() == {stage.source}
    return ends[stage.source]


def await_end(stage: Stage, expected: int) -> int:
    """The end, once it is there: Kafka answers a commit before its markers are written."""
    deadline = time.monotonic() + TIMEOUT_S
    while (found := end(stage)) < expected:
        assert time.monotonic() < deadline, f"the end is {found}, not {expected}"
    assert found == expected
    return found


def read(stage: Stage, start: int, stop: int) -> list[Record]:
    return [one for batch in stage.reader.read(stage.source, start, stop) for one in batch]


def values(stage: Stage, start: int, stop: int) -> list[bytes | None]:
    return [record.value for record in read(stage, start, stop)]


def test_an_empty_partition_begins_and_ends_at_0(stage: Stage) -> None:
    """There is nothing to read, and that is no error."""
    assert end(stage) == 0
    assert stage.reader.starts([stage.source.topic]) == {stage.source: 0}
    assert read(stage, 0, 0) == []


def test_a_range_is_half_open(stage: Stage) -> None:
    """start ≤ position < end, in order; a range that holds no position is empty."""
    stage.plain(*(b"%d" % n for n in range(10)))
    assert [(one.position, one.value) for one in read(stage, 2, 5)] == [
        (2, b"2"),
        (3, b"3"),
        (4, b"4"),
    ]
    assert read(stage, 5, 5) == []
    assert [one.position for one in read(stage, 7, end(stage))] == [7, 8, 9]


def test_records_are_whole(stage: Stage) -> None:
    """Key, headers, an absent value, and the time of the append."""
    stage.plain(b"value", b"")
    first, second = read(stage, 0, 2)
    assert (first.source, first.key, first.value) == (stage.source, b"key", b"value")
    assert first.headers == (("h", b"1"),)
    assert second.value is None
    assert abs(first.appended_at_ms - time.time() * 1000) < 60_000


def test_markers_take_positions_that_nobody_sees(stage: Stage) -> None:
    """One per transaction and partition, whichever way it ended."""
    stage.transact(b"a", b"b", commit=True)
    await_end(stage, 3)
    stage.plain(b"c")
    await_end(stage, 4)
    assert [(one.position, one.value) for one in read(stage, 0, 4)] == [
        (0, b"a"),
        (1, b"b"),
        (3, b"c"),
    ]
    assert read(stage, 2, 3) == []


def test_aborted_records_are_invisible_and_a_range_ends_behind_them(stage: Stage) -> None:
    """The last records are aborted and a marker: the read ends there, and shows what committed."""
    stage.transact(b"a", commit=True)
    stage.transact(b"never", b"never", commit=False)
    await_end(stage, 5)
    assert values(stage, 0, 5) == [b"a"]
    assert read(stage, 2, 5) == []
    stage.plain(b"b")
    assert values(stage, 0, end(stage)) == [b"a", b"b"]


def test_the_end_is_below_what_is_still_open(stage: Stage) -> None:
    """An open transaction hides all that comes after its first record, until it ends."""
    stage.plain(b"a")
    stage.leave_open(b"b")
    stage.plain(b"c")
    stage.transact(b"d", commit=True)
    assert end(stage) == 1
    assert values(stage, 0, 1) == [b"a"]
    with pytest.raises(BrokerError, match=r"tasks\[0\] stopped at 1 of 3"):
        read(stage, 0, 3)
    stage.end_open()
    assert values(stage, 0, await_end(stage, 6)) == [b"a", b"b", b"c", b"d"]


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (4, 10), (50, 60)])
def test_a_range_that_is_not_there_is_refused(stage: Stage, start: int, stop: int) -> None:
    """Removed at the beginning, or beyond the end: a `LogError` that names the partition."""
    stage.plain(*(b"%d" % n for n in range(10)))
    stage.remove_before(5)
    assert stage.reader.starts([stage.source.topic]) == {stage.source: 5}
    with pytest.raises(LogError, match=r"tasks\[0\]"):
        read(stage, start, stop)
    assert [one.position for one in read(stage, 5, 10)] == [5, 6, 7, 8, 9]


def test_a_moment_holds_what_was_appended_up_to_it(stage: Stage) -> None:
    """A cut at a time ends behind the last record of that millisecond, and never above the end."""
    stage.plain(b"a", b"b")
    between_ms = stage.let_time_pass()
    stage.plain(b"c", b"d")
    topics = [stage.source.topic]
    assert stage.reader.ends_at(topics, between_ms).ends == {stage.source: 2}
    assert stage.reader.ends_at(topics, -1).ends == {stage.source: 0}
    assert stage.reader.ends_at(topics, between_ms + 60_000).ends == {stage.source: 4}


def test_a_cut_says_which_log_it_is_of(stage: Stage) -> None:
    """The same log accepts it later; its text names cluster, topic and ends."""
    stage.plain(b"a")
    cut = stage.reader.ends([stage.source.topic])
    stage.plain(b"b")
    cut.require_same_log(stage.reader.ends([stage.source.topic]))
    assert cut.cluster_id
    assert cut.topic_ids.keys() == {stage.source.topic}
    assert type(cut).decode(cut.encode()) == cut


def test_an_unknown_topic_is_named(stage: Stage) -> None:
    """With the way out."""
    for ask in (stage.reader.ends, stage.reader.starts):
        with pytest.raises(LogError, match=r"nothing does not exist.*topics apply"):
            ask([f"{stage.source.topic}-nothing"])
