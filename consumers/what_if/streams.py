"""Two versions of aggregates over a cut: each stream's first event after which its states differ.

An event touches one stream alone, so its two states are compared after each event; nothing is
missed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from consumers.aggregates.aggregate import Aggregate
from consumers.aggregates.rebuilding import Rebuilding
from consumers.aggregates.states import MemoryStates, StreamState
from consumers.differences import NOTHING
from consumers.folds import OnProgress
from consumers.what_if.findings import (
    DIVERGENCES_MAX,
    Collected,
    Divergence,
    Totals,
    WhatIf,
    digest_differences,
    first_differences,
)
from consumers.what_if.pair import told
from consumers.what_if.projections import Passing, spans_of
from consumers.what_if.side import Side
from streams.cuts import Cut
from streams.digest import canonical
from streams.errors import ConfigurationError
from streams.ports import LogReader
from streams.record import Partition, Record
from streams.topics import EVENTS, Namespace

StreamSide = Side[Sequence[Aggregate]]


def what_if_streams(
    this: StreamSide,
    other: StreamSide,
    *,
    reader: LogReader,
    namespace: Namespace,
    cut: Cut | None = None,
    on_progress: OnProgress | None = None,
) -> WhatIf:
    """Where the streams of aggregates that both sides have (by name) first differ, and how they do
    in the end.

    Raises `ConfigurationError` if there are none, `LogError` if the history is not whole, forks, or
    is none that a side can evolve with: it names the side and the record.
    """
    this, other = _in_common(this, other)
    began = time.monotonic()
    cut, spans = spans_of(reader, (namespace.topic(EVENTS),), cut)
    passing, different, records = Passing(spans, on_progress), Collected(), 0
    divergences: list[Divergence] = []
    diverged = 0
    for source, _, end in spans:
        both = _Both((this, other), source)
        for batch in reader.read(source, 0, end):
            for record in batch:
                both.add(record)
            records += len(batch)
            passing.at(batch[-1].position + 1)
        both.compare_ends(different)
        divergences += both.divergences
        diverged += len(both.diverged)
        passing.done(end)
    return WhatIf(
        cut=cut,
        records=records,
        this=Totals(label=this.label, digest=None),
        other=Totals(label=other.label, digest=None),
        diverged=diverged,
        divergences=sorted(divergences, key=lambda one: one.when)[:DIVERGENCES_MAX],
        different=different.count,
        differences=different.kept,
        seconds=time.monotonic() - began,
    )


def _in_common(this: StreamSide, other: StreamSide) -> tuple[StreamSide, StreamSide]:
    names = {one.name for one in this.fold} & {one.name for one in other.fold}
    if not names:
        raise ConfigurationError(
            f"{this.label} has aggregates {_names(this)} and {other.label} has {_names(other)}: "
            "none in common, and streams belong to an aggregate by its name"
        )

    def only(side: StreamSide) -> StreamSide:
        return Side(side.label, [one for one in side.fold if one.name in names], side.codec)

    return only(this), only(other)


def _names(side: StreamSide) -> str:
    return ", ".join(sorted(one.name for one in side.fold)) or "none"


class _Both:
    """The streams of one partition, rebuilt by both sides."""

    def __init__(self, sides: tuple[StreamSide, StreamSide], source: Partition) -> None:
        self._sides = sides
        self._source = source
        self._rebuilding = [Rebuilding(one.fold, one.codec, MemoryStates()) for one in sides]
        self.diverged: set[str] = set()
        self.divergences: list[Divergence] = []

    def add(self, record: Record) -> None:
        """Fold a record on both sides, and compare its stream."""
        before = [one.events for one in self._rebuilding]
        for side, rebuilding in zip(self._sides, self._rebuilding, strict=True):
            with side.named():
                rebuilding.add([record])
        if before == [one.events for one in self._rebuilding] or record.key is None:
            return
        stream_id = record.key.decode()
        if stream_id in self.diverged:
            return
        this, other = self._states(stream_id)
        if _alike(this, other):
            return
        self.diverged.add(stream_id)
        if len(self.divergences) < DIVERGENCES_MAX:
            found = first_differences(_value(this), _value(other), stream_id)
            self.divergences.append(told(stream_id, record, self._sides, found))

    def compare_ends(self, into: Collected) -> None:
        """What is different at the end: only of streams that ever differed."""
        for stream_id in sorted(self.diverged):
            this, other = self._states(stream_id)
            if not _alike(this, other):
                into.add(digest_differences(_value(this), _value(other), stream_id))

    def _states(self, stream_id: str) -> tuple[StreamState | None, StreamState | None]:
        this, other = (one.states.get(stream_id) for one in self._rebuilding)
        return this, other


def _alike(this: StreamState | None, other: StreamState | None) -> bool:
    # The bytes keep the order of keys, which means nothing: only then a closer look.
    if this is None or other is None or this.state == other.state:
        return this == other
    return canonical(this.value()) == canonical(other.value())


def _value(held: StreamState | None) -> object:
    return NOTHING if held is None else held.value()
