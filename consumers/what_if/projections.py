"""Two projections over a cut, or one under two sets of schemas, in one pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from consumers.folds import OnProgress, Range, ranges_of
from consumers.projections.filters import EVERYTHING
from consumers.projections.partition_fold import Tally
from consumers.projections.projection import Projection
from consumers.what_if.findings import Collected, Divergence, Totals, WhatIf, digest_differences
from consumers.what_if.pair import fold_both
from consumers.what_if.side import Side
from streams.cuts import Cut
from streams.digest import digest
from streams.errors import ConfigurationError
from streams.ports import LogReader
from streams.topics import Namespace


def what_if_projection(
    this: Side[Projection[Any]],
    other: Side[Projection[Any]],
    *,
    reader: LogReader,
    namespace: Namespace,
    cut: Cut | None = None,
    on_progress: OnProgress | None = None,
) -> WhatIf:
    """Where the two first differ on each partition, and what is different at the cut's end.

    The cut is of this side's topics (default: the log's end as it is); both must read the same.
    Raises `ConfigurationError` if they do not, `LogError` if the history is not whole, and what a
    fold fails with, naming the side and the record.
    """
    if set(this.fold.topics) != set(other.fold.topics):
        raise ConfigurationError(
            f"{this.label} reads {', '.join(this.fold.topics)} and {other.label} reads "
            f"{', '.join(other.fold.topics)}: two histories; let both name the same topics"
        )
    began, sides = time.monotonic(), (this, other)
    cut, spans = spans_of(reader, namespace.topics(this.fold.topics), cut)
    states = [side.fold.initial() for side in sides]
    tallies = [Tally(), Tally()]
    divergences: list[Divergence] = []
    passing = Passing(spans, on_progress)
    for source, _, end in spans:
        pair, found = fold_both(sides, source, partial(reader.read, source), end, passing.at)
        for n, side in enumerate(sides):
            with side.named():
                states[n] = side.fold.merge(states[n], pair.states[n])
            tallies[n] += pair.tallies[n]
        if found is not None:
            divergences.append(found)
        passing.done(end)
    different = Collected()
    different.add(digest_differences(*states))
    totals = []
    for side, state, tally in zip(sides, states, tallies, strict=True):
        with side.named():
            whole = digest(state)
        totals.append(
            Totals(
                label=side.label,
                digest=whole,
                undecodable=tally.undecodable,
                first_undecodable=tally.first_undecodable,
            )
        )
    return WhatIf(
        cut=cut,
        records=tallies[0].records,
        this=totals[0],
        other=totals[1],
        diverged=len(divergences),
        divergences=sorted(divergences, key=lambda one: one.when),
        different=different.count,
        differences=different.kept,
        seconds=time.monotonic() - began,
    )


def spans_of(
    reader: LogReader, topics: Sequence[str], cut: Cut | None
) -> tuple[Cut, Sequence[Range]]:
    """What there is to read. Raises `LogError` if the cut is of another log, or the beginning of a
    partition was removed.
    """
    now = reader.ends(topics)
    cut = (now if cut is None else cut).of(topics)
    cut.require_same_log(now)
    return cut, ranges_of(cut, reader.starts(topics), EVERYTHING)


class Passing:
    """How far a pass over several partitions is."""

    def __init__(self, spans: Sequence[Range], on_progress: OnProgress | None) -> None:
        self._total = sum(span.positions for span in spans)
        self._before = 0
        self._tell = on_progress

    def at(self, position: int) -> None:
        """So far on the partition that is being read."""
        if self._tell is not None:
            self._tell(self._before + position, self._total)

    def done(self, end: int) -> None:
        """To the end of one partition."""
        self._before += end
        self.at(0)
