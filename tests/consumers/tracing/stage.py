"""A log in memory with an index of it, traced."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from consumers.databases import Database
from consumers.index import LogIndex
from consumers.journal import Ending, Outcome, PartitionCommit, Settled, journal_envelopes
from consumers.journal.outcomes import HANDLED
from consumers.read_models import Generations, RowKeeper, catch_up
from consumers.tracing import Trace, Tracer
from streams.dead_letters import dead_letter_headers
from streams.envelope import Envelope, Kind
from streams.headers import record_headers
from streams.identity import message_id
from streams.memory import MemoryLog
from streams.memory.reader import MemoryLogReader
from streams.ports import LogReader
from streams.record import Partition, Place, Record
from streams.schemas import Catalogue, Codec
from streams.topics import Namespace, dlq
from streams.topics.routing import route

CODEC = Codec(Catalogue.load())


class FixedClock:
    """Time that the test sets."""

    def __init__(self) -> None:
        self.at_ms = 1_700_000_000_000

    def now_us(self) -> int:
        return self.at_ms * 1000


class ReaderLookup:
    """Positions by way of a bulk reader."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader
        self.asked = 0

    def at(self, places: Iterable[Place]) -> Mapping[Place, Record]:
        found = {}
        for source, position in places:
            self.asked += 1
            for batch in self._reader.read(source, position, position + 1):
                found[Place(source, position)] = batch[0]
        return found


def envelope(n: int, **fields: Any) -> Envelope:
    return Envelope(
        type="agentlog.Json",
        kind=Kind.REQUEST,
        payload={"json": "{}"},
        id=message_id(n, "0" * 9),
        sender="asker",
        created_at=1_700_000_000_000_000 + n,
        recipients=("worker",),
    ).with_(**fields)


class TraceStage:
    """What happens, record by record, and what a trace says of it."""

    def __init__(self, database: Database) -> None:
        self.clock = FixedClock()
        self.namespace = Namespace("local")
        self.log = MemoryLog(self.clock)
        self.log.provision(self.namespace)
        self.reader = MemoryLogReader(self.log)
        self.lookup = ReaderLookup(self.reader)
        self.generations = Generations(database, LogIndex(), self.namespace.name)

    def append(self, sent: Envelope, *, partition: int = 0, after_ms: int = 0) -> list[Place]:
        """Where it is routed to, all on one partition, so many milliseconds later."""
        self.clock.at_ms += after_ms
        places = []
        for logical, key in route(sent):
            source = Partition(self.namespace.topic(logical), partition)
            value, headers = CODEC.encode(sent), record_headers(sent)
            places.append(Place(source, self.log.append(source, key, value, tuple(headers))))
        return places

    def settle(
        self,
        place: Place,
        ending: Ending = HANDLED,
        *,
        group: str = "fleet",
        waited_ms: int | None = 2,
        after_ms: int = 10,
    ) -> None:
        """One group's commit of one record."""
        self.clock.at_ms += after_ms
        settled = [Settled(place.position, 1_000, 1, ending, delivery_ms=waited_ms)]
        commit = PartitionCommit(place.source, place.position, place.position + 1, settled)
        for made in journal_envelopes(f"local.{group}", commit, writer="w", now_us=5):
            self.append(made.with_(kind=Kind.EVENT))

    def bury(self, place: Place, *, group: str = "fleet", attempts: int = 5) -> None:
        """The dead letter of a record, and the commit that says so."""
        (record,) = self.lookup.at([place]).values()
        headers = dead_letter_headers(
            record,
            group=f"local.{group}",
            handlers=["on_request"],
            attempts=attempts,
            error_name="ValueError",
            error_message="no such thing",
            stack="",
            failed_at_ms=self.clock.at_ms,
            context={},
        )
        source = Partition(dlq(place.source.topic), 0)
        self.log.append(source, record.key, record.value, tuple(headers))
        self.settle(place, Ending(Outcome.DEAD_LETTERED, "ValueError", "no such"), group=group)

    def trace(self, asked: str, **options: Any) -> Trace:
        keeper = RowKeeper(self.generations, CODEC)
        topics = self.namespace.topics(LogIndex.topics)
        assert catch_up(keeper, self.reader, self.reader.ends(topics))
        tracer = Tracer(self.generations, self.lookup, CODEC, self.namespace, **options)
        return tracer.trace(asked)
