"""Tail: watch the log, as it is or as it grows. aiokafka, by assignment, in no group.

Read-committed; order holds within a partition, and what one fetch brings is shown by append time.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Final, NamedTuple

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from streams.envelope import Envelope
from streams.errors import BrokerError, DecodeError, LogError
from streams.kafka.configs import TAIL
from streams.kafka.positioned import close, open_at, record_of
from streams.ranges import Span
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics.partitioning import partition_for

POLL_MS: Final = 200
BATCH_MAX: Final = 500
"""Records taken at a time, so that the first is shown soon."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which records to show; None asks nothing. All that is asked must hold."""

    key: str | None = None
    agent: str | None = None
    """Sender or recipient."""
    type: str | None = None
    """Payload type by full or last name, or kind."""
    channel: str | None = None

    @property
    def looks_inside(self) -> bool:
        """Whether a record that cannot be decoded can never fit."""
        return any(asked is not None for asked in (self.agent, self.type, self.channel))

    def partitions(self, spans: Mapping[Partition, Span]) -> dict[Partition, Span]:
        """The partitions that the key can be on."""
        if self.key is None:
            return dict(spans)
        counts: dict[str, int] = {}
        for part in spans:
            counts[part.topic] = counts.get(part.topic, 0) + 1
        key = self.key.encode()
        return {
            part: span
            for part, span in spans.items()
            if partition_for(key, counts[part.topic]) == part.index
        }

    def fits_key(self, record: Record) -> bool:
        """Whether the record has the key."""
        return self.key is None or record.key == self.key.encode()

    def fits(self, envelope: Envelope) -> bool:
        """Whether the envelope is what was asked for."""
        return (
            (
                self.agent is None
                or self.agent == envelope.sender
                or self.agent in envelope.recipients
            )
            and (self.channel is None or self.channel == envelope.channel_id)
            and (
                self.type is None
                or self.type
                in {envelope.type, envelope.type.rpartition(".")[2], envelope.kind.value}
            )
        )


class Sighting(NamedTuple):
    """A record on the log; `problem` says why there is no envelope."""

    record: Record
    envelope: Envelope | None
    problem: str | None = None


async def tail(
    bootstrap_servers: str,
    codec: Codec,
    spans: Mapping[Partition, Span],
    wanted: Filter | None = None,
) -> AsyncGenerator[Sighting, None]:
    """The records of these spans that fit; ends when every span with an end is read.

    Raises `BrokerError` if no broker answers, `LogError` if a position is gone.
    """
    wanted = wanted or Filter()
    open_spans = {
        TopicPartition(*part): span
        for part, span in wanted.partitions(spans).items()
        if span.end is None or span.start < span.end
    }
    if not open_spans:
        return
    consumer = await open_at(
        bootstrap_servers,
        TAIL,
        {Partition(*part): span.start for part, span in open_spans.items()},
    )
    try:
        while open_spans:
            async for record in _fetched(consumer, open_spans):
                if sighting := _sighting(record, codec, wanted):
                    yield sighting
            await _close_what_is_read(consumer, open_spans)
    except OffsetOutOfRangeError as error:
        raise LogError(f"a position asked for is no longer on the log: {error}") from error
    except KafkaError as error:
        raise BrokerError(f"cannot read from {bootstrap_servers}: {error!r}") from error
    finally:
        await close(consumer)


async def _fetched(
    consumer: AIOKafkaConsumer, spans: Mapping[TopicPartition, Span]
) -> AsyncIterator[Record]:
    batches = await consumer.getmany(timeout_ms=POLL_MS, max_records=BATCH_MAX)
    found = [
        record_of(message)
        for part, messages in batches.items()
        for message in messages
        if (span := spans.get(part)) is not None and (span.end is None or message.offset < span.end)
    ]
    for record in sorted(found, key=lambda record: record.appended_at_ms):
        yield record


async def _close_what_is_read(
    consumer: AIOKafkaConsumer, spans: dict[TopicPartition, Span]
) -> None:
    """Stop reading partitions whose position has reached their end, markers included."""
    for part in [part for part, span in spans.items() if span.end is not None]:
        if await consumer.position(part) >= (spans[part].end or 0):
            consumer.pause(part)
            del spans[part]


def _sighting(record: Record, codec: Codec, wanted: Filter) -> Sighting | None:
    if not wanted.fits_key(record):
        return None
    try:
        envelope = codec.decode(record.value, record.headers)
    except DecodeError as error:
        return None if wanted.looks_inside else Sighting(record, None, str(error))
    return Sighting(record, envelope) if wanted.fits(envelope) else None
