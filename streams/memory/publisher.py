"""Envelopes onto the log in memory: what `streams.kafka.publisher` does, without a broker.

Envelopes are stamped, checked, encoded and routed by the same code, and refused with the same
errors. What is published is acknowledged at once.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from streams.envelope import Envelope
from streams.errors import AgentlogError, PublishError
from streams.headers import Header
from streams.kafka.publisher import RECORD_BYTES_MAX, Placement, Published
from streams.kafka.schema_topic import schema_record
from streams.memory.failures import CallFailed, Failure
from streams.memory.log import MemoryLog
from streams.outgoing import Outbox
from streams.record import Partition
from streams.schemas import Codec
from streams.topics import SCHEMAS, Namespace
from streams.topics.partitioning import partition_for


class MemoryPublisher:
    """Publishes for one sender on a `MemoryLog`: a `Publisher`, as far as users go.

    `seed` decides the ids of envelopes that have none.
    """

    def __init__(
        self,
        log: MemoryLog,
        namespace: Namespace,
        codec: Codec,
        *,
        sender: str = "",
        seed: int = 0,
        record_bytes_max: int = RECORD_BYTES_MAX,
    ) -> None:
        self._log = log
        self._namespace = namespace
        self._outbox = Outbox(
            codec,
            sender=sender,
            clock=log.clock,
            rng=random.Random(seed),
            record_bytes_max=record_bytes_max,
            namespace=namespace,
        )
        self._announced: set[int] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is pending."""

    async def start(self) -> None:
        """There is nobody to connect to."""

    async def close(self) -> None:
        """Nothing is pending."""

    async def publish(self, envelope: Envelope) -> Published:
        """Put one envelope on the log; returns where it is.

        Raises `EnvelopeError` kinds before anything is written; `PublishError` where the log
        refuses a record.
        """
        outgoing = self._outbox.prepare(envelope)
        envelope_id, event_type = outgoing.envelope.id, outgoing.event_type
        if event_type.schema_id not in self._announced:
            key, value = schema_record(event_type.wire)
            self._append(envelope_id, SCHEMAS, key, value, [])
            self._announced.add(event_type.schema_id)
        places = [
            self._append(envelope_id, topic, key, outgoing.value, outgoing.headers)
            for topic, key in outgoing.routes
        ]
        return Published(*places[0], envelope_id, tuple(places[1:]))

    async def publish_many(self, envelopes: Iterable[Envelope]) -> list[Published]:
        """Put many envelopes on the log, in order; those before one that is refused stay."""
        published: list[Published] = []
        for envelope in envelopes:
            try:
                published.append(await self.publish(envelope))
            except AgentlogError as error:
                error.add_note(f"{len(published)} envelopes before it were sent")
                raise
        return published

    def _append(
        self, envelope_id: str, logical: str, key: bytes, value: bytes, headers: list[Header]
    ) -> Placement:
        topic = self._namespace.topic(logical)
        partitions = len(self._log.partitions(topic))
        source = Partition(topic, partition_for(key, partitions) if partitions else 0)
        try:
            return Placement(*source, self._log.append(source, key, value, tuple(headers)))
        except CallFailed as error:
            raise PublishError(
                envelope_id, topic, str(error), retriable=error.failure is Failure.NO_ANSWER
            ) from error
