"""One range of one partition, folded: from what is kept of it to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, NamedTuple, TypeVar

from consumers.folds.kept import Keeper, Kept
from consumers.folds.ranges import Range
from consumers.projections.columnar import ColumnDecoder
from consumers.projections.filters import Filters
from consumers.projections.partition_fold import Columnar, ColumnFold, PartitionFold, Tally
from consumers.projections.projection import Projection
from streams.ports import LogReader
from streams.record import Partition
from streams.schemas import Codec
from streams.topics import Namespace

S = TypeVar("S")

KEEP_EVERY_S: Final = 10.0
"""Seconds of a range's folding between two times that its state is kept: what a killed replay folds
again at most, for each range that it was at."""
KEEP_SHARE_MAX: Final = 0.1
"""Share of its time that a range spends on keeping its state: a large one is kept more seldom."""


class Folded(NamedTuple, Generic[S]):
    """What one range came to."""

    state: S
    tally: Tally
    """Of the whole range, what was kept included."""
    kept_records: int
    """Of its records, those that were not read this time."""
    warnings: tuple[str, ...]


class RangeFold(NamedTuple, Generic[S]):
    """How ranges are folded. Goes to other processes, if the projection does."""

    projection: Projection[S]
    namespace: Namespace
    filters: Filters
    in_columns: bool
    keeper: Keeper | None

    def run(
        self, reader: LogReader, codec: Codec, span: Range, on_passed: Callable[[int], None]
    ) -> Folded[S]:
        """Fold a range; `on_passed` is told how many positions were passed, batch by batch.

        Those that are kept (`passed_before`) count as passed already.
        """
        keeper, counted = self.keeper, span.start + self.passed_before(span)
        kept = keeper.load(span) if keeper else None
        position = kept.position if kept else span.start
        on_passed(position - counted)
        if kept and position == span.end:
            return self._folded(kept, kept)
        due_s = keeper.first_s if keeper else 0.0
        with self._fold(codec, span.source, kept) as fold:
            for batch in reader.read(span.source, position, span.end):
                fold.add(batch)
                passed, position = position, batch[-1].position + 1
                on_passed(position - passed)
                if keeper and time.monotonic() >= due_s:
                    took_s = keeper.save(span.source, Kept(position, *fold.finish()))
                    due_s = time.monotonic() + max(KEEP_EVERY_S, took_s / KEEP_SHARE_MAX)
            done = Kept(span.end, *fold.finish())
        on_passed(span.end - position)
        if keeper and time.monotonic() >= keeper.first_s:
            keeper.save(span.source, done)
        return self._folded(done, kept)

    def passed_before(self, span: Range) -> int:
        """Positions of a range that an earlier run has folded, as far as names of files tell."""
        return self.keeper.farthest(span) - span.start if self.keeper else 0

    def _folded(self, done: Kept, kept: Kept | None) -> Folded[S]:
        warnings = self.keeper.take_warnings() if self.keeper else ()
        return Folded(done.state, done.tally, kept.tally.records if kept else 0, warnings)

    @contextmanager
    def _fold(
        self, codec: Codec, source: Partition, kept: Kept | None
    ) -> Iterator[PartitionFold[S]]:
        projection = self.projection
        before = (kept.state, kept.tally) if kept else (None, None)
        logical = self.namespace.logical(source.topic)
        if (
            self.in_columns
            and isinstance(projection, Columnar)
            and logical in projection.columnar_topics
        ):
            with ColumnDecoder(codec) as decoder:
                yield ColumnFold(self.projection, codec, self.filters, decoder, *before)
        else:
            yield PartitionFold(projection, codec, self.filters, *before)
