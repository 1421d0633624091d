"""Dead letters as they stand on the log: found, filtered, each with what was decided about it.

The dead-letter topics say what failed; `DeadLetterResolved` on `events` says what somebody did
about it. Both only ever grow, so a dead letter's state is a fold: open until its last resolution
says redriven or dropped. A resolution comes after its dead letter, so `events` is read from the
first dead letter's time on, less what the clocks of two brokers may differ by.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

import msgspec

from consumers.dead_letters.places import Place
from consumers.dead_letters.resolutions import Resolution, Resolutions
from streams.dead_letters import DeadLetter
from streams.envelope import Kind
from streams.errors import DecodeError, LogError
from streams.headers import read_headers
from streams.moments import At, TimedReader, parse_moment, resolve_at
from streams.ranges import Span
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import Namespace, dlq

OPEN: Final = "open"


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the dead envelope: its own word, else its headers'."""

    id: str = ""
    type: str = ""
    kind: Kind = Kind.UNKNOWN
    sender: str = ""
    recipients: tuple[str, ...] = ()
    correlation_id: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter, without its value, its stack and its context."""

    place: Place
    appended_at_ms: int
    letter: DeadLetter
    facts: Facts
    resolution: Resolution | None
    """The last one."""

    @property
    def state(self) -> str:
        """`open`, `redriven` or `dropped`."""
        return self.resolution.action if self.resolution is not None else OPEN


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters; None asks nothing. All that is asked must hold."""

    group: str | None = None
    """Full name."""
    type: str | None = None
    """Payload type by full or last name, or kind."""
    error: str | None = None
    agent: str | None = None
    """Sender, recipient, or the agent that the handler ran as."""
    correlation: str | None = None

    def fits(self, letter: DeadLetter, facts: Facts) -> bool:
        """Whether this dead letter is what was asked for."""
        return (
            self.group in {None, letter.group}
            and self.error in {None, letter.error_name}
            and self.correlation in {None, facts.correlation_id}
            and self.type in {None, facts.type, facts.type.rpartition(".")[2], facts.kind.value}
            and (
                self.agent is None
                or self.agent in {facts.sender, *facts.recipients}
                or self.agent == letter.context.get("agent")
            )
        )


class DeadLetters:
    """A namespace's dead letters, read from the log."""

    def __init__(self, reader: TimedReader, codec: Codec, namespace: Namespace) -> None:
        self._reader = reader
        self._codec = codec
        self._namespace = namespace
        self.resolutions = Resolutions(reader, codec, namespace)
        self.seen = 0
        """Dead letters looked at, whether they fitted or not."""
        self.strangers = 0
        """Records passed over that are no dead letters."""
        self.groups: set[str] = set()
        """Groups of what was looked at, full names."""

    def spans(
        self, topics: Sequence[str], since: str | None, until: str | None, now_ms: int
    ) -> dict[Partition, Span]:
        """What to read of these topics' dead letters (logical source names) between two moments.

        Moments are append times, as `streams.moments` reads them; both are included.
        """
        names = [self._namespace.topic(dlq(topic)) for topic in topics]
        ends = resolve_at(self._reader, names, until or "now", now_ms).ends
        starts = dict(self._reader.starts(names))
        if since is not None:
            match parse_moment(since, now_ms):
                case At(epoch_ms):
                    found: Mapping[Partition, int] = self._reader.ends_at(names, epoch_ms - 1).ends
                case _:
                    found = resolve_at(self._reader, names, since, now_ms).ends
            starts = {part: max(starts[part], found.get(part, 0)) for part in starts}
        return {part: Span(starts[part], end) for part, end in ends.items()}

    def find(self, spans: Mapping[Partition, Span], wanted: Wanted) -> Iterator[Entry]:
        """The dead letters of these spans that fit, by append time, each with its state."""
        streams = [self._records(part, span) for part, span in sorted(spans.items())]
        started = False
        for record in heapq.merge(*streams, key=lambda record: record.appended_at_ms):
            if not started:
                self.resolutions.start_at(record.appended_at_ms)
                self.resolutions.read_on()
                started = True
            try:
                letter = DeadLetter.from_record(record)
            except DecodeError:
                self.strangers += 1
                continue
            self.seen += 1
            self.groups.add(letter.group)
            facts = facts_of(record, self._codec)
            if wanted.fits(letter, facts):
                yield self._entry(record, letter, facts)

    def record_at(self, place: Place) -> Record:
        """The record there. Raises `LogError` if there is none."""
        source, position = place
        shown = place.shown(self._namespace)
        found = self._reader.starts([source.topic])
        if source not in found:
            raise LogError(f"{shown}: the topic has only partitions 0 to {len(found) - 1}")
        start, end = found[source], self._reader.ends([source.topic]).ends[source]
        if not start <= position < end:
            held = f"positions {start} to {end - 1}" if start < end else "nothing"
            raise LogError(f"{shown}: there is no such position; the partition holds {held}")
        for record in chain.from_iterable(self._reader.read(source, position, position + 1)):
            return record
        raise LogError(f"{shown}: no record is there, only the mark of a transaction")

    def at(self, places: Iterable[Place]) -> list[Entry]:
        """The dead letters at these places, in order, each once.

        Raises `LogError` for a place without a record, `DecodeError` for one that is no dead
        letter.
        """
        records = [self.record_at(place) for place in sorted(set(places))]
        letters = [DeadLetter.from_record(record) for record in records]
        if records:
            self.resolutions.start_at(min(record.appended_at_ms for record in records))
            self.resolutions.read_on()
        return [
            self._entry(record, letter, facts_of(record, self._codec))
            for record, letter in zip(records, letters, strict=True)
        ]

    def _entry(self, record: Record, letter: DeadLetter, facts: Facts) -> Entry:
        place = Place(record.source, record.position)
        return Entry(
            place=place,
            appended_at_ms=record.appended_at_ms,
            letter=msgspec.structs.replace(letter, error_stack="", context={}),
            facts=facts,
            resolution=self.resolutions.last(place),
        )

    def _records(self, source: Partition, span: Span) -> Iterator[Record]:
        end = span.start if span.end is None else span.end
        return chain.from_iterable(self._reader.read(source, span.start, end))


def facts_of(record: Record, codec: Codec) -> Facts:
    """What the dead envelope says of itself; where it cannot be read, what its headers say."""
    try:
        envelope = codec.decode(record.value, record.headers)
    except DecodeError:
        try:
            told = read_headers(record.headers)
        except (DecodeError, AttributeError):  # Kafka allows a header without a value
            return Facts()
        return Facts(
            id=told.id,
            type=told.type,
            kind=told.kind,
            sender=told.sender,
            recipients=told.recipients,
        )
    return Facts(
        id=envelope.id,
        type=envelope.type,
        kind=envelope.kind,
        sender=envelope.sender,
        recipients=envelope.recipients,
        correlation_id=envelope.correlation_id,
    )
