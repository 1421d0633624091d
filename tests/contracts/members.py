"""What the contracts of the worker's ports share: a log with topics, members, and hands on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Producer as KafkaProducer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from consumers.marks import Mark
from consumers.window import CLIENT_QUEUE_BYTES, Window
from consumers.worker.memory import MemorySource, MemoryTransactions
from consumers.worker.ports import Assigned, Committed, Source, Transaction, Transactions
from consumers.worker.source import KafkaSource
from consumers.worker.transactions import KafkaTransactions
from streams.kafka.configs import SILENT
from streams.kafka.reader import KafkaLogReader
from streams.memory import CommittedPosition, MemoryLog, MemoryLogReader, Producer
from streams.ports import LogReader
from streams.record import Partition, Record

DEADLINE_S: Final = 60.0
GROUP: Final = "g"
PARTITIONS: Final = 4


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds; fail naming it."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        await asyncio.sleep(0.01)


class Member:
    """A listener that notes what it is told, and lets go of partitions when told to."""

    def __init__(self, source: Source, window: Window) -> None:
        self.source = source
        self.window = window
        self.assigned: dict[Partition, Assigned] = {}
        """What it has now."""
        self.tokens: list[int] = []
        """Every token there ever was."""
        self.records: dict[int, list[Record]] = {}
        """By token."""
        self.read_to: dict[int, int] = {}
        self.revoking: list[tuple[list[Partition], Callable[[], None]]] = []
        """What it was asked to give up, unless `lets_go`."""
        self.lets_go = True
        self.is_at_rest = True
        self.assigning: list[Callable[[], None]] = []
        """Who waits for its commit to end, unless `is_at_rest`."""
        self.lost: list[Partition] = []
        self.failures: list[BaseException] = []

    def on_assigned(self, assigned: Sequence[Assigned]) -> None:
        self.assigned |= {one.source: one for one in assigned}
        self.tokens += [one.token for one in assigned]

    def on_records(self, batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        for token, records in batches:
            self.records.setdefault(token, []).extend(records)

    def on_read_to(self, positions: Sequence[tuple[int, int]]) -> None:
        self.read_to |= dict(positions)

    def on_assigning(self, done: Callable[[], None]) -> None:
        if self.is_at_rest:
            done()
        else:
            self.assigning.append(done)

    def on_revoking(self, sources: Sequence[Partition], done: Callable[[], None]) -> None:
        if self.lets_go:
            done()
        else:
            self.revoking.append((list(sources), done))

    def on_lost(self, sources: Sequence[Partition]) -> None:
        self.lost += sources
        for source in sources:
            del self.assigned[source]

    def on_source_failed(self, error: BaseException) -> None:
        self.failures.append(error)

    def of(self, source: Partition) -> list[Record]:
        """What arrived of a partition under its assignment of now."""
        return self.records.get(self.assigned[source].token, [])

    def values(self, source: Partition) -> list[bytes | None]:
        return [record.value for record in self.of(source)]

    def read_of(self, source: Partition) -> int:
        """How far the source has told that it has read."""
        return self.read_to.get(self.assigned[source].token, -1)

    async def stop(self) -> None:
        """Leave the group, whatever it holds up."""
        self.lets_go = True
        for _, done in self.revoking:
            done()
        await self.source.stop()

    async def owns(self, count: int) -> None:
        await until(lambda: len(self.assigned) == count, f"{count} partitions")
        assert self.failures == []


class Bench(Protocol):
    """A log with two topics, and members and transactions on it."""

    is_kafka: bool
    topic: str
    outputs: str
    group: str
    members: list[Member]
    """All that ever joined; who has not stopped is stopped at the end."""

    @property
    def reader(self) -> LogReader: ...

    def make_source(self, *reads: Any, **bounds: Any) -> Source: ...

    def transactions(self, run: str) -> Transactions:
        """Those of one process run."""

    def append(self, source: Partition, *values: bytes) -> None: ...

    def abort(self, source: Partition, *values: bytes) -> None:
        """Append records that nobody will see."""

    def hold_positions(self, metadata: Any, positions: Mapping[Partition, int]) -> None:
        """Send positions in a transaction that stays open."""

    def let_go_positions(self) -> None:
        """Abort it."""

    def committed(self, sources: Iterable[Partition]) -> dict[Partition, tuple[int, str]]:
        """Positions and metadata texts; partitions without are absent."""


def join(bench: Bench, *, count_max: int = 10_000, read_back: int = 0) -> Member:
    """A member whose source has been started."""
    window = Window(count_max, 2 * CLIENT_QUEUE_BYTES)
    source = bench.make_source(
        bench.group, [bench.topic], window, revoke_s_max=DEADLINE_S, read_back=read_back
    )
    member = Member(source, window)
    bench.members.append(member)
    member.source.start(member)
    return member


async def commit(bench: Bench, member: Member, marks: Mapping[Partition, Mark]) -> None:
    """Commit positions of what the member has, in a transaction."""
    transactions = bench.transactions("setup")
    positions = [(member.assigned[one].metadata, {one: mark}) for one, mark in marks.items()]
    assert await transactions.commit(Transaction([], positions)) is Committed.YES
    await transactions.close()


def partitions(bench: Bench, count: int = PARTITIONS) -> list[Partition]:
    return [Partition(bench.topic, index) for index in range(count)]


def visible(bench: Bench, topic: str) -> list[Record]:
    """Every visible record of a topic, partition by partition."""
    return [
        record
        for source, end in bench.reader.ends([topic])
        for batch in bench.reader.read(source, 0, end)
        for record in batch
    ]


class KafkaBench:
    is_kafka = True

    def __init__(self, servers: str, namespace: str, count: int = PARTITIONS) -> None:
        self.topic, self.outputs = f"{namespace}.tasks", f"{namespace}.events"
        self.members: list[Member] = []
        self.reader = KafkaLogReader(servers)
        self._servers, self._namespace = servers, namespace
        self.servers = servers
        """Those of whoever joins next."""
        self.group = f"{namespace}.{GROUP}"
        admin = AdminClient({"bootstrap.servers": servers})
        config = {"message.timestamp.type": "LogAppendTime"}
        topics = [NewTopic(name, count, 1, config=config) for name in self._topics]
        for future in admin.create_topics(topics).values():
            future.result()
        self._plain = KafkaProducer({"bootstrap.servers": servers}, logger=SILENT)
        self._holding: KafkaProducer | None = None

    @property
    def _topics(self) -> tuple[str, str]:
        return self.topic, self.outputs

    def close(self) -> None:
        self.reader.close()

    def make_source(self, *reads: Any, **bounds: Any) -> Source:
        return KafkaSource(self.servers, *reads, **bounds)

    def transactions(self, run: str) -> Transactions:
        return KafkaTransactions(self._servers, f"{self.group}.{run}")

    def append(self, source: Partition, *values: bytes) -> None:
        _produce(self._plain, source, values)

    def abort(self, source: Partition, *values: bytes) -> None:
        producer = self._transactional("aborting")
        _produce(producer, source, values)
        producer.abort_transaction(30)

    def hold_positions(self, metadata: Any, positions: Mapping[Partition, int]) -> None:
        self._holding = self._transactional("holding")
        offsets = [TopicPartition(*source, position) for source, position in positions.items()]
        self._holding.send_offsets_to_transaction(offsets, metadata, 30)

    def let_go_positions(self) -> None:
        assert self._holding is not None
        self._holding.abort_transaction(30)

    def committed(self, sources: Iterable[Partition]) -> dict[Partition, tuple[int, str]]:
        consumer = Consumer(
            {"bootstrap.servers": self._servers, "group.id": self.group}, logger=SILENT
        )
        found = consumer.committed([TopicPartition(*source) for source in sources], timeout=30)
        consumer.close()
        return {
            Partition(one.topic, one.partition): (one.offset, one.metadata or "")
            for one in found
            if one.offset >= 0
        }

    def _transactional(self, name: str) -> KafkaProducer:
        config = {
            "bootstrap.servers": self._servers,
            "transactional.id": f"{self._namespace}-{name}",
        }
        producer = KafkaProducer(config, logger=SILENT)
        producer.init_transactions(30)
        producer.begin_transaction()
        return producer


def _produce(producer: KafkaProducer, source: Partition, values: tuple[bytes, ...]) -> None:
    for value in values:
        producer.produce(source.topic, value, b"key", partition=source.index)
    assert producer.flush(30) == 0


class MemoryBench:
    is_kafka = False

    def __init__(self, namespace: str) -> None:
        self.topic, self.outputs = f"{namespace}.tasks", f"{namespace}.events"
        self.members: list[Member] = []
        self.group = f"{namespace}.{GROUP}"
        self.log = MemoryLog()
        for topic in (self.topic, self.outputs):
            self.log.create_topic(topic, PARTITIONS)
        self.reader = MemoryLogReader(self.log)
        self._holding: Producer | None = None

    def close(self) -> None:
        pass

    def make_source(self, *reads: Any, **bounds: Any) -> Source:
        return MemorySource(self.log, *reads, **bounds)

    def transactions(self, run: str) -> Transactions:
        return MemoryTransactions(self.log, f"{self.group}.{run}")

    def append(self, source: Partition, *values: bytes) -> None:
        for value in values:
            self.log.append(source, b"key", value)

    def abort(self, source: Partition, *values: bytes) -> None:
        producer = self.log.init_producer("aborting")
        for value in values:
            self.log.append(source, b"key", value, producer=producer)
        self.log.abort(producer)

    def hold_positions(self, metadata: Any, positions: Mapping[Partition, int]) -> None:
        self._holding = self.log.init_producer("holding")
        self.log.send_positions(
            self._holding,
            metadata,
            {one: CommittedPosition(position) for one, position in positions.items()},
        )

    def let_go_positions(self) -> None:
        assert self._holding is not None
        self.log.abort(self._holding)

    def committed(self, sources: Iterable[Partition]) -> dict[Partition, tuple[int, str]]:
        found = self.log.committed(self.group, sources)
        return {
            one: (mark.position, mark.metadata) for one, mark in found.items() if mark is not None
        }


@pytest.fixture(params=["kafka", "memory"])
async def bench(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Bench]:
    """The same test on every log."""
    made: KafkaBench | MemoryBench
    if request.param == "memory":
        made = MemoryBench(namespace)
    else:
        made = KafkaBench(request.getfixturevalue("kafka"), namespace)
    yield made
    for member in made.members:
        await member.stop()
    made.close()
