"""Back to the moment of the kill: one agent as it was then, and what became of its record.

The agent is one that had a record in the hands of the worker that was killed, if there is any. What
`agentlog state --at`, `agentlog diff` and `agentlog trace` show is shown of it.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Final

import msgspec

from consumers.databases import Database
from consumers.demo.figures import Work
from consumers.demo.ledger import Run
from consumers.index import LogIndex
from consumers.projections import AgentState, Filters
from consumers.read_models import Generations, RowKeeper, catch_up
from consumers.replay import replay
from consumers.tracing import Trace, Tracer
from streams.envelope import Envelope, Kind
from streams.errors import DecodeError
from streams.headers import rfc3339
from streams.kafka.lookup import KafkaLookup
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition, Place
from streams.schemas import Codec
from streams.topics import TOPICS, Namespace

INDEX_S_MAX: Final = 60.0
LOOKED_AT_MAX: Final = 50
"""Records of the killed worker among which a story is looked for."""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """What is told of one record and its agent."""

    agent: str
    record: str
    """`topic[partition]@position`."""
    was_interrupted: bool
    """Whether its handler ran on the killed worker, and again on another."""
    killed_at: str
    """RFC 3339."""
    then: Mapping[str, Any]
    """The agent as `agentlog state --at KILLED_AT` shows it; empty: nothing was known of it."""
    now: Mapping[str, Any]
    trace: Trace
    index_s: float
    """Seconds to index the whole log, and to find the trace."""


class Travel:
    """Looks back over one namespace of the demo."""

    def __init__(
        self, reader: KafkaLogReader, namespace: Namespace, codec: Codec, store_url: str
    ) -> None:
        self._reader = reader
        self._namespace = namespace
        self._codec = codec
        self._store_url = store_url

    def tell(self, runs: Sequence[Run], work: Work) -> Story | None:
        """The story of a record that the killed worker had; None if none had an agent."""
        told: tuple[Place, Envelope, bool] | None = None
        with KafkaLookup(self._reader.bootstrap_servers) as lookup:
            for run, was_interrupted in _of_the_killed(runs, work):
                place = self._place(run)
                envelope = self._envelope(lookup, place) if place is not None else None
                if place is None or envelope is None or not envelope.recipients:
                    continue
                told = told or (place, envelope, was_interrupted)
                if envelope.kind is Kind.TASK_ASSIGNMENT:  # most comes of these
                    told = place, envelope, was_interrupted
                    break
            return self._told(lookup, *told[:2], work, told[2]) if told else None

    def _told(
        self,
        lookup: KafkaLookup,
        place: Place,
        envelope: Envelope,
        work: Work,
        was_interrupted: bool,
    ) -> Story:
        agent = envelope.recipients[0]
        began = time.monotonic()
        trace = self._trace(lookup, envelope.correlation_id or envelope.id)
        index_s = time.monotonic() - began
        topics = self._namespace.topics(AgentState().topics)
        return Story(
            agent=agent,
            record=f"{self._namespace.logical(place.source.topic)}"
            f"[{place.source.index}]@{place.position}",
            was_interrupted=was_interrupted,
            killed_at=f"{rfc3339(work.killed_ms * 1000)[:23]}Z",
            then=self._state(agent, self._reader.ends_at(topics, work.killed_ms)),
            now=self._state(agent, self._reader.ends(topics)),
            trace=trace,
            index_s=round(index_s, 3),
        )

    def _trace(self, lookup: KafkaLookup, correlation: str) -> Trace:
        model = LogIndex()
        with closing(Database(self._store_url)) as database:
            generations = Generations(database, model, self._namespace.name)
            cut = self._reader.ends(self._namespace.topics(model.topics))
            catch_up(
                RowKeeper(generations, self._codec),
                self._reader,
                cut,
                deadline=time.monotonic() + INDEX_S_MAX,
            )
            return Tracer(generations, lookup, self._codec, self._namespace).trace(correlation)

    def _state(self, agent: str, cut: Any) -> Mapping[str, Any]:
        projection = AgentState()
        found = replay(
            projection,
            reader=self._reader,
            namespace=self._namespace,
            codec=self._codec,
            cut=cut,
            filters=Filters(agent=agent),
        )
        view: Mapping[str, Any] = projection.view(found.state)["agents"].get(agent, {})
        return view

    def _place(self, run: Run) -> Place | None:
        for logical in TOPICS:
            topic = self._namespace.topic(logical)
            if zlib.crc32(topic.encode()) == run.topic:
                return Place(Partition(topic, run.partition), run.position)
        return None

    def _envelope(self, lookup: KafkaLookup, place: Place) -> Envelope | None:
        record = lookup.at([place]).get(place)
        try:
            return self._codec.decode(record.value, record.headers) if record else None
        except DecodeError:
            return None


def _of_the_killed(runs: Sequence[Run], work: Work) -> Iterator[tuple[Run, bool]]:
    """Its last runs, latest first: those that another had to do again, then the others."""
    again = {run.record for run in runs if run.at_ms > work.killed_ms}
    theirs = [run for run in runs if run.pid == work.killed][-LOOKED_AT_MAX:][::-1]
    for was_interrupted in (True, False):
        for run in theirs:
            if (run.record in again) is was_interrupted:
                yield run, was_interrupted
