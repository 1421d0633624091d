"""Histories: what a run left on the log, read as any reader of committed records would.

Besides the log there is what was seen of the run itself: attempts of handlers, deaths of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from consumers.app import App
from consumers.audit import GroupAudit, GroupBooks, audit, read_books
from consumers.journal import OUTCOMES_RECORDED, Outcome
from consumers.journal.runs import decode_runs
from consumers.journal.tiling import Tiling, TilingResult
from consumers.marks import Mark
from streams.dead_letters import DeadLetter
from streams.errors import DecodeError
from streams.headers import CE_ID, header
from streams.identity import derived_id
from streams.memory import MemoryLogReader
from streams.record import Partition, Record
from streams.topics import JOURNAL
from streams.topics.catalogue import dlq
from tests.simulation.apps import OUTPUT_TOPICS, handler_name, handlers_of, subject_of
from tests.simulation.plans import Plan
from tests.simulation.schedule import Kind, Schedule
from tests.simulation.world import Observed, World

Place = tuple[Partition, int]


class Ended(msgspec.Struct, frozen=True):
    """How a journal record says that a position ended."""

    outcome: str
    reason: str
    run_id: str
    at_ms: int


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """One visible record of a group's topics, and all that the log says became of it."""

    group: str
    """Logical name."""
    record: Record
    id: str
    type: str
    """Empty where it cannot be decoded."""
    subject: str
    kind: Kind
    created_at_ms: int
    ttl_ms: int
    handlers: tuple[str, ...]
    plans: Mapping[str, Plan]
    endings: tuple[Ended, ...]
    letters: tuple[DeadLetter, ...]

    @property
    def place(self) -> Place:
        """Where it is."""
        return self.record.source, self.record.position

    def output_ids(self, handler: str) -> list[str]:
        """The ids that a handler's outputs must have, in order."""
        return [self._derived(handler, "", n) for n in range(self.plans[handler].outputs)]

    def effect_ids(self, handler: str) -> list[str]:
        """The ids of what says which effects it had: there with any outcome, once it had them."""
        return [self._derived(handler, ":effect:act", 0)] if self.plans[handler].effect else []

    def _derived(self, handler: str, what: str, n: int) -> str:
        one, name = self.record, f"{self.group}:{handler_name(self.type, handler)}{what}"
        return derived_id(one.appended_at_ms, one.topic, one.partition, one.position, name, n)

    def __str__(self) -> str:
        return f"{self.group}: {self.subject or self.kind} at {self.record}"


class Written(msgspec.Struct, frozen=True):
    """One visible record that a worker wrote as an output of a handler."""

    record: Record
    id: str
    writer: str


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A run, as its log tells it."""

    schedule: Schedule
    observed: Observed
    inputs: tuple[Input, ...]
    """By group, partition by partition, in log order."""
    outputs: tuple[Written, ...]
    """Partition by partition, in log order."""
    audits: tuple[GroupAudit, ...]

    @property
    def repeats(self) -> bool:
        """Whether at least once was what was asked."""
        return self.schedule.bounds.delivery == "at_least_once"


def read_history(world: World) -> History:
    """All that the log says."""
    reader, codec = MemoryLogReader(world.log), world.codec
    records = {topic: list(_records(world, reader, topic)) for topic in _topics(world)}
    endings = _endings(world, records[JOURNAL])
    letters: dict[tuple[str, Place], list[DeadLetter]] = {}
    for topic, found in records.items():
        for record in found if topic.endswith(".dlq") else ():
            letter = DeadLetter.from_record(record)
            place = (letter.source, letter.position)
            letters.setdefault((letter.group, place), []).append(letter)
    inputs = [
        _input(world, app.name, record, endings, letters)
        for app in world.apps
        for topic in app.topics
        for record in records[topic]
    ]
    outputs = []
    for topic in OUTPUT_TOPICS:
        for record in records[topic]:
            try:
                envelope = codec.decode(record.value, record.headers)
            except DecodeError:
                continue
            if envelope.writer:
                outputs.append(Written(record, envelope.id, envelope.writer))
    return History(
        schedule=world.schedule,
        observed=world.observed,
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        audits=tuple(audit_all(world)),
    )


def audit_all(world: World) -> list[GroupAudit]:
    """The audit of every group, its committed marks compared with its journal."""

    def committed(group: str | None) -> Mapping[str, Mapping[Partition, Mark]]:
        return {
            world.namespace.group(app.name): _known(world, app)
            for app in world.apps
            if group in {None, world.namespace.group(app.name)}
        }

    return [
        found
        for app in world.apps
        for found in audit(
            MemoryLogReader(world.log),
            world.codec,
            world.namespace,
            group=app.name,
            topics=app.topics,
            committed=committed,
        )
    ]


def tilings_now(world: World) -> Iterator[tuple[str, TilingResult]]:
    """The audit's arithmetic alone, at any moment: (group and partition, what it says).

    Marks are compared if nothing holds up who reads the journal: else it is behind them.
    """
    reader = MemoryLogReader(world.log)
    journal = world.log.partitions(world.namespace.topic(JOURNAL))
    held_up = any(world.log.end(one) < world.log.end(one, committed=False) for one in journal)
    books = read_books(reader, world.codec, world.namespace)
    for app in world.apps:
        found = books.get(world.namespace.group(app.name), GroupBooks())
        known = {} if held_up else _known(world, app)
        for topic in app.topics:
            for source in world.log.partitions(world.namespace.topic(topic)):
                visible = world.log.fetch(source, 0, count_max=10_000).records
                tiling = found.tilings.get(source, Tiling())
                positions = [record.position for record in visible]
                yield f"{app.name} {source}", tiling.check(positions, known.get(source))


def _known(world: World, app: App) -> dict[Partition, Mark]:
    return {one: mark for one, mark in world.marks(app).items() if mark is not None}


def _topics(world: World) -> list[str]:
    topics = {JOURNAL, *OUTPUT_TOPICS}
    topics |= {dlq(topic) for app in world.apps for topic in app.topics}
    return sorted(topics)


def _records(world: World, reader: MemoryLogReader, topic: str) -> Iterator[Record]:
    for source in world.log.partitions(world.namespace.topic(topic)):
        for batch in reader.read(source, world.log.start(source), world.log.end(source)):
            yield from batch


def _endings(world: World, journal: list[Record]) -> dict[tuple[str, Place], list[Ended]]:
    found: dict[tuple[str, Place], list[Ended]] = {}
    for record in journal:
        envelope = world.codec.decode(record.value, record.headers)
        if envelope.type != OUTCOMES_RECORDED:
            continue
        payload: Mapping[str, Any] = envelope.payload
        source = Partition(payload["topic"], payload["partition"])
        reasons = {one["position"]: one["reason"] for one in payload["exceptions"]}
        for finished in payload["finished"]:
            outcome = Outcome(finished["outcome"]).value
            for run in decode_runs(finished["runs"]):
                for position in run:
                    found.setdefault((payload["group"], (source, position)), []).append(
                        Ended(
                            outcome,
                            reasons.get(position, ""),
                            envelope.writer or "",
                            record.appended_at_ms,
                        )
                    )
    return found


def _input(
    world: World,
    group: str,
    record: Record,
    endings: Mapping[tuple[str, Place], list[Ended]],
    letters: Mapping[tuple[str, Place], list[DeadLetter]],
) -> Input:
    schedule = world.schedule
    place = (record.source, record.position)
    envelope_id = (header(record.headers, CE_ID) or b"").decode()
    type_name = subject = ""
    created_at_ms = ttl_ms = 0
    try:
        envelope = world.codec.decode(record.value, record.headers)
        payload = envelope.payload
        subject = subject_of(envelope.type, payload)
        type_name, ttl_ms = envelope.type, envelope.ttl_ms
        created_at_ms = envelope.created_at // 1000
    except DecodeError:
        pass
    handlers = handlers_of(schedule, group, type_name)
    known_by = (world.namespace.group(group), place)
    return Input(
        group=group,
        record=record,
        id=envelope_id,
        type=type_name,
        subject=subject,
        kind=world.observed.kinds.get(place, Kind.PLAIN),
        created_at_ms=created_at_ms,
        ttl_ms=ttl_ms,
        handlers=handlers,
        plans={one: schedule.plan(subject, one) for one in handlers},
        endings=tuple(endings.get(known_by, ())),
        letters=tuple(letters.get(known_by, ())),
    )
