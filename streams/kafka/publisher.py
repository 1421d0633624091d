"""The publisher: envelopes onto the log, from an asyncio process, without a thread.

Idempotent, acks=all, lz4, murmur2. An envelope is stamped, checked, encoded and routed before
anything of it is sent; then its records join their partitions' batches. What is not acknowledged
yet is bounded by `pending_max` records and `pending_bytes_max`: past either, `publish` waits.

It never creates topics: a missing one is an error that names `agentlog topics apply`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from types import TracebackType
from typing import Final, NamedTuple, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from streams.envelope import Envelope
from streams.errors import AgentlogError, BrokerError, PublishError
from streams.kafka.configs import LINGER_MS, PUBLISHER
from streams.kafka.partition_queue import Batch, PartitionQueue, is_retriable
from streams.kafka.pending import Pending
from streams.kafka.registry import Registry
from streams.kafka.schema_topic import schema_record
from streams.kafka.topic_queues import TopicQueues, count_partitions
from streams.outgoing import Outbox
from streams.ports import Clock, SystemClock
from streams.record import Partition
from streams.schemas import Codec, EventType
from streams.topics import SCHEMAS, Namespace

PENDING_MAX: Final = 10_000
"""Records unacknowledged before `publish` waits."""
PENDING_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes of their values before it waits too (Java's `buffer.memory`)."""
RECORD_BYTES_MAX: Final = 1_000_000
DELIVERY_TIMEOUT_MS: Final = 120_000
"""Milliseconds after which an unacknowledged record is reported as such (as in Java's client)."""
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 5.0
GROWTH_CHECK_S: Final = 30.0
"""Seconds between two looks for topics that have more partitions than before."""

_YIELD_EVERY: Final = 64


class Placement(NamedTuple):
    """Where one record is: full topic name, partition, position."""

    topic: str
    partition: int
    position: int


class Published(NamedTuple):
    """An envelope that is on the log. `copies` holds its further records: one per further
    recipient of an inbox message, all with the same id.

    With a registry, the record for a recipient that no fleet has registered is a dead letter: its
    topic is `<namespace>.inbox.dlq`.
    """

    topic: str
    partition: int
    position: int
    id: str
    copies: tuple[Placement, ...] = ()


class Publisher:
    """Publishes for one sender. Use it as `async with Publisher(...) as publisher:`.

    Entering raises `BrokerError` if no broker answers; leaving flushes. One event loop only.

    With a `registry`, which it opens and closes, what goes to the inbox of an agent that no fleet
    has registered is written to `inbox.dlq` instead, where it can be redriven from.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: Namespace,
        codec: Codec,
        *,
        sender: str = "",
        clock: Clock | None = None,
        rng: random.Random | None = None,
        pending_max: int = PENDING_MAX,
        pending_bytes_max: int = PENDING_BYTES_MAX,
        record_bytes_max: int = RECORD_BYTES_MAX,
        linger_ms: float = LINGER_MS,
        delivery_timeout_ms: int = DELIVERY_TIMEOUT_MS,
        registry: Registry | None = None,
    ) -> None:
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._clock = clock or SystemClock()
        self._registry = registry
        self._outbox = Outbox(
            codec,
            sender=sender,
            clock=self._clock,
            rng=rng or random.Random(),
            record_bytes_max=record_bytes_max,
            namespace=namespace,
        )
        self._linger_s = linger_ms / 1000
        self._delivery_timeout_s = delivery_timeout_ms / 1000
        self._producer: AIOKafkaProducer | None = None
        self._topics: dict[str, TopicQueues] = {}
        self._growth: asyncio.TimerHandle | None = None
        self._announced: set[int] = set()
        self._learning = asyncio.Lock()
        self._announcing = asyncio.Lock()
        self._pending = Pending(pending_max, pending_bytes_max)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Connect. Raises `BrokerError` if no broker answers within 30 s, `LogError` if there is
        to be a registry and there is no topic for it.
        """
        producer = AIOKafkaProducer(bootstrap_servers=self._servers, **PUBLISHER)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                await producer.start()
        except (KafkaError, TimeoutError, OSError) as error:
            await producer.stop()
            raise BrokerError(
                f"no Kafka answers at {self._servers}: {error or 'timed out'}; is it running?"
            ) from error
        if self._registry is not None:
            try:
                await self._registry.start()
            except BaseException:
                await _stop(producer)
                raise
        self._producer = producer
        self._watch_growth()

    async def close(self) -> None:
        """Send and await everything that is pending, then disconnect. Twice does no harm."""
        producer, self._producer = self._producer, None
        if producer is None:
            return
        if self._growth is not None:
            self._growth.cancel()
        queues = [queue for topic in self._topics.values() for queue in topic.queues]
        for queue in queues:
            queue.hurry()
        await self._pending.drained(self._delivery_timeout_s)
        for queue in queues:
            queue.abandon()
        self._pending.close()
        self._topics.clear()
        if self._registry is not None:
            await self._registry.close()
        await _stop(producer)

    async def publish(self, envelope: Envelope) -> Published:
        """Put one envelope on the log; returns when the broker has acknowledged all its records.

        What is empty of `id`, `created_at`, `sender` and `kind` is stamped. Raises `EnvelopeError`
        kinds before anything is sent; `PublishError` naming topic and id where Kafka refused.
        """
        envelope_id, placed = await self._enqueue(envelope)
        if len(placed) == 1:
            batch, index = placed[0]
            try:
                position = await batch.waiter(index, asyncio.get_running_loop())
            except (KafkaError, TimeoutError) as error:
                raise _failed(envelope_id, batch, error) from error
            return Published(*batch.partition, position, envelope_id)
        await asyncio.wait({batch.base for batch, _ in placed})
        return _published(envelope_id, placed)

    async def publish_many(self, envelopes: Iterable[Envelope]) -> list[Published]:
        """Put many envelopes on the log, in order per key, many on their way at a time.

        Returns, in the given order, when all are acknowledged. If one is refused, nothing after it
        is sent: what came before it is awaited, then its error is raised, with a note of how many
        that were. If Kafka refuses one, its error is raised when all others are settled.
        """
        sent: list[tuple[str, list[tuple[Batch, int]]]] = []
        refused: AgentlogError | None = None
        for n, envelope in enumerate(envelopes, 1):
            try:
                sent.append(await self._enqueue(envelope))
            except AgentlogError as error:
                error.add_note(f"{n - 1} envelopes before it were sent")
                refused = error
                break
            if n % _YIELD_EVERY == 0:
                await asyncio.sleep(0)
        batches = {batch.base for _, placed in sent for batch, _ in placed}
        if batches:
            await asyncio.wait(batches)
        found = [_published(envelope_id, placed) for envelope_id, placed in sent]
        if refused is not None:
            raise refused
        return found

    async def _enqueue(self, envelope: Envelope) -> tuple[str, list[tuple[Batch, int]]]:
        """Hand the envelope's records to their partitions; waits only where there is no room."""
        outgoing = self._outbox.prepare(envelope)
        envelope_id, event_type = outgoing.envelope.id, outgoing.event_type
        if event_type.schema_id not in self._announced:
            await self._announce(event_type, envelope_id)
        routes, dead = outgoing.routes, None
        if self._registry is not None:
            routes, dead = self._registry.apart(outgoing, self._clock.now_us() // 1000)
        for topic, _ in routes:
            if topic not in self._topics:
                await self._learn(topic, envelope_id)
        if self._pending.full:
            await self._room(envelope_id, routes[0].topic)
        if self._producer is None:
            raise self._closed(envelope_id, routes[0].topic)
        value, headers, topics = outgoing.value, outgoing.headers, self._topics
        self._pending.add(len(routes), len(routes) * len(value))
        if dead:
            return envelope_id, [
                topics[topic].queue(key).append(key, value, dead.get(key, headers))
                for topic, key in routes
            ]
        return envelope_id, [
            topics[topic].queue(key).append(key, value, headers) for topic, key in routes
        ]

    async def _room(self, envelope_id: str, topic: str) -> None:
        """Wait for room, as long as Kafka may take to make some."""
        try:
            async with asyncio.timeout(self._delivery_timeout_s):
                await self._pending.room()
        except TimeoutError as error:
            raise PublishError(
                envelope_id,
                self._namespace.topic(topic),
                f"{self._pending.count} records before it are still not acknowledged after "
                f"{self._delivery_timeout_s:g} s",
                retriable=True,
            ) from error

    def _closed(self, envelope_id: str, topic: str) -> PublishError:
        return PublishError(
            envelope_id, self._namespace.topic(topic), "the publisher is not open", retriable=False
        )

    async def _announce(self, event_type: EventType, envelope_id: str) -> None:
        """Write the type's schema to the `schemas` topic, before its first record."""
        await self._learn(SCHEMAS, envelope_id)
        async with self._announcing:
            if event_type.schema_id in self._announced:
                return
            if self._producer is None:
                raise self._closed(envelope_id, SCHEMAS)
            key, value = schema_record(event_type.wire)
            self._pending.add(1, len(value))
            batch, index = self._topics[SCHEMAS].queue(key).append(key, value, [])
            try:
                await batch.waiter(index, asyncio.get_running_loop())
            except (KafkaError, TimeoutError) as error:
                raise _failed(envelope_id, batch, error) from error
            self._announced.add(event_type.schema_id)

    async def _learn(self, logical: str, envelope_id: str) -> None:
        """Find a topic's partitions. Raises `PublishError` if it does not exist."""
        async with self._learning:
            if logical in self._topics:
                return
            if self._producer is None:
                raise self._closed(envelope_id, logical)
            full = self._namespace.topic(logical)
            try:
                count = await count_partitions(self._producer, full)
            except (KafkaError, TimeoutError) as error:
                raise PublishError(
                    envelope_id, full, f"no metadata: {error!r}", retriable=is_retriable(error)
                ) from error
            if count is None:
                raise PublishError(
                    envelope_id,
                    full,
                    "the topic does not exist; run `agentlog topics apply` with "
                    f"AGENTLOG_NAMESPACE={self._namespace.name}",
                    retriable=False,
                )
            producer = self._producer
            self._topics[logical] = TopicQueues(
                count,
                lambda index: PartitionQueue(
                    producer,
                    Partition(full, index),
                    linger_s=self._linger_s,
                    delivery_timeout_s=self._delivery_timeout_s,
                    on_settled=self._pending.settle,
                ),
            )

    def _watch_growth(self) -> None:
        """Every now and then: follow topics that have been given more partitions."""
        if self._producer is None:
            return
        for logical, topic in self._topics.items():
            known = self._producer.client.cluster.partitions_for_topic(
                self._namespace.topic(logical)
            )
            topic.grow(len(known or ()))
        self._growth = asyncio.get_running_loop().call_later(GROWTH_CHECK_S, self._watch_growth)


async def _stop(producer: AIOKafkaProducer) -> None:
    """Disconnect, even from a broker that has gone: aiokafka alone would wait for it for ever."""
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await producer.stop()
    except (TimeoutError, KafkaError):
        await producer._sender.close()  # noqa: SLF001  # no public way to end its task
        await producer.client.close()


def _published(envelope_id: str, placed: list[tuple[Batch, int]]) -> Published:
    """Where settled records are. Raises `PublishError` for the first that was not written."""
    places = [_placement(envelope_id, batch, index) for batch, index in placed]
    return Published(*places[0], envelope_id, tuple(places[1:]))


def _placement(envelope_id: str, batch: Batch, index: int) -> Placement:
    if (error := batch.base.exception()) is not None:
        raise _failed(envelope_id, batch, error) from error
    return Placement(batch.partition.topic, batch.partition.index, batch.base.result() + index)


def _failed(envelope_id: str, batch: Batch, error: BaseException) -> PublishError:
    retriable = is_retriable(error)
    problem = (
        f"{error}; it may still be written"
        if isinstance(error, TimeoutError)
        else f"{type(error).__name__}: {error}"
    )
    return PublishError(envelope_id, str(batch.partition), problem, retriable=retriable)
