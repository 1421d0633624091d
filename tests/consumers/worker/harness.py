"""What the worker's tests on real Kafka share: input, running workers, what is on the log."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from consumers.app import App
from consumers.journal.tiling import Tiling, TilingResult
from consumers.marks import Mark
from consumers.worker import Worker
from streams.envelope import Envelope, Kind
from streams.errors import BrokerError, LogError
from streams.headers import record_headers
from streams.identity import message_id
from streams.kafka.admin import TopicAdmin
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition, Record
from streams.schemas import Catalogue, Codec
from streams.topics import EVENTS, INBOX, JOURNAL, TASKS, TOPICS, Namespace, Topic
from streams.topics.routing import route

CODEC: Final = Codec(Catalogue.load())
ASSIGN: Final = "agentlog.task.AssignTask"
STATUS: Final = "agentlog.agent.StatusReported"
DEADLINE_S: Final = 60.0

_SEVERAL: Final = {EVENTS: 2, INBOX: 2, JOURNAL: 2}
USED: Final = {
    name: topic
    if name == TASKS
    else msgspec.structs.replace(topic, partitions=_SEVERAL.get(name, 1))
    for name, topic in TOPICS.items()
}
"""Every topic; only `tasks` with all its partitions: making 69 for each test takes a second."""


def assign_task(n: int, key: str, **fields: Any) -> Envelope:
    """The n-th task, on a key; its number is in its id and its description."""
    return Envelope(
        type=ASSIGN,
        id=message_id(1_700_000_000_000 + n, f"{n:09d}"),
        kind=Kind.TASK_ASSIGNMENT,
        sender="boss",
        correlation_id=key,
        created_at=time.time_ns() // 1000,
        payload={"task": {"id": f"t{n}", "type": "test", "description": str(n)}},
    ).with_(**fields)


def status(text: str, stream: str) -> Envelope:
    """An output that goes to `events`, which nobody in these tests consumes."""
    return Envelope(
        type=STATUS, payload={"agent_status": "busy", "current_tasks": [text]}, stream_id=stream
    )


class Bench:
    """One namespace on the broker."""

    def __init__(self, servers: str, namespace: str, catalogue: Mapping[str, Topic] = USED) -> None:
        self.servers = servers
        self.namespace = Namespace(namespace)
        TopicAdmin(servers).provision(self.namespace, catalogue)
        self.reader = KafkaLogReader(servers)
        self._await_leaders()

    def _await_leaders(self) -> None:
        """The controller answers for new topics a moment before their leaders do."""
        deadline = time.monotonic() + DEADLINE_S
        while True:
            try:
                self.reader.ends([self.namespace.topic(topic.name) for topic in TOPICS.values()])
            except (BrokerError, LogError):
                if time.monotonic() > deadline:
                    raise
            else:
                return

    def send(self, envelopes: Iterator[Envelope] | list[Envelope]) -> None:
        """Append them, each where it is routed to."""
        with self.raw_producer() as producer:
            for envelope in envelopes:
                for logical, key in route(envelope):
                    producer.produce(
                        self.namespace.topic(logical),
                        CODEC.encode(envelope),
                        key,
                        headers=record_headers(envelope),  # type: ignore[arg-type]
                    )

    @contextlib.contextmanager
    def raw_producer(self) -> Iterator[Producer]:
        """A plain producer, flushed at the end."""
        producer = Producer({"bootstrap.servers": self.servers, "partitioner": "murmur2_random"})
        yield producer
        assert producer.flush(30) == 0

    def records(self, logical: str) -> list[Record]:
        """Every visible record of a topic, partition by partition."""
        topic = self.namespace.topic(logical)
        starts = self.reader.starts([topic])
        return [
            record
            for source, end in self.reader.ends([topic])
            for batch in self.reader.read(source, starts[source], end)
            for record in batch
        ]

    def envelopes(self, logical: str) -> list[Envelope]:
        """The same, decoded."""
        return [CODEC.decode(record.value, record.headers) for record in self.records(logical)]

    def marks(self, group: str, logical: str = TASKS) -> dict[Partition, Mark]:
        """The group's committed positions and marks; partitions without one are absent."""
        topic = self.namespace.topic(logical)
        sources = list(self.reader.starts([topic]))
        consumer = Consumer(
            {"bootstrap.servers": self.servers, "group.id": self.namespace.group(group)}
        )
        try:
            found = consumer.committed([TopicPartition(*source) for source in sources], timeout=30)
        except KafkaException:
            return {}  # the coordinator moves in; whoever asks will ask again
        finally:
            consumer.close()
        return {
            Partition(one.topic, one.partition): Mark.decode(one.offset, one.metadata or "")
            for one in found
            if one.offset >= 0
        }

    def positions(self, group: str, logical: str = TASKS) -> dict[Partition, int]:
        """The group's committed positions alone."""
        return {source: mark.position for source, mark in self.marks(group, logical).items()}

    def caught_up(self, group: str, logical: str = TASKS) -> bool:
        """True once the group has committed up to the end of every partition."""
        committed = self.positions(group, logical)
        ends = self.reader.ends([self.namespace.topic(logical)])
        return all(committed.get(source, 0) >= end for source, end in ends)

    def tiling(self, group: str, logical: str = TASKS) -> dict[Partition, TilingResult]:
        """The group's journal, checked against the topic and what is committed."""
        marks = self.marks(group, logical)  # before the journal is read, which then says as much
        full = self.namespace.group(group)
        tilings: dict[Partition, Tiling] = {}
        for envelope in self.envelopes(JOURNAL):
            payload = envelope.payload
            if payload["group"] == full and payload["topic"] == self.namespace.topic(logical):
                source = Partition(payload["topic"], payload["partition"])
                tilings.setdefault(source, Tiling()).add(payload)
        visible: dict[Partition, list[int]] = {}
        for record in self.records(logical):
            visible.setdefault(record.source, []).append(record.position)
        sources = tilings.keys() | visible.keys()
        return {
            source: tilings.get(source, Tiling()).check(visible.get(source, []), marks.get(source))
            for source in sources
        }

    def journal_exceptions(self) -> list[tuple[str, str]]:
        """(outcome, reason) of every record that was not simply handled."""
        return [
            (one["outcome"], one["reason"])
            for envelope in self.envelopes(JOURNAL)
            for one in envelope.payload["exceptions"]
        ]

    @contextlib.asynccontextmanager
    async def working(self, app: App, **settings: Any) -> AsyncIterator[asyncio.Task[None]]:
        """One worker in this process, drained at the end. Yields its task."""
        worker = Worker(app, self.servers, self.namespace, CODEC, **settings)
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop))
        try:
            yield task
        finally:
            stop.set()
            await asyncio.wait({task}, timeout=DEADLINE_S)
        if not task.done():
            task.cancel()
            raise AssertionError(f"the worker did not drain within {DEADLINE_S} s")
        await task


async def until(
    condition: Callable[[], bool],
    what: str,
    *,
    task: asyncio.Task[None] | None = None,
    every_s: float = 0.02,
    deadline_s: float = DEADLINE_S,
) -> None:
    """Wait until the condition holds; fail naming `what`, or with what ended `task`."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        if task is not None and task.done():
            task.result()
            raise AssertionError(f"the worker ended before: {what}")
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        await asyncio.sleep(every_s)
