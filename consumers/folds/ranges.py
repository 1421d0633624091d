"""Ranges: which positions of which partitions a replay reads. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from consumers.projections.filters import Filters
from streams.cuts import Cut
from streams.errors import LogError
from streams.record import Partition


class Range(NamedTuple):
    """Positions start ≤ p < end of one partition."""

    source: Partition
    start: int
    end: int

    @property
    def positions(self) -> int:
        """How many."""
        return self.end - self.start


def ranges_of(
    cut: Cut, starts: Mapping[Partition, int], filters: Filters, since: Cut | None = None
) -> list[Range]:
    """What there is to read between `since` (default: the beginning) and the cut, longest first.

    `starts` are the first positions that the partitions still have. Raises `LogError` if what is
    to be read was removed in part.
    """
    counts = Counter(source.topic for source in cut.ends)
    ranges = []
    for source, end in cut:
        if not filters.reads(source, counts[source.topic]):
            continue
        start = since.ends.get(source, 0) if since is not None else 0
        if end <= start:
            continue
        if starts[source] > start:
            raise LogError(
                f"{source} begins at {starts[source]}: the records from {start} on were removed, "
                "so nothing that depends on them can be rebuilt; its topic must keep everything "
                "(retention.ms=-1; `agentlog topics diff` shows which do not)"
            )
        ranges.append(Range(source, start, end))
    return sorted(ranges, key=lambda it: (it.start - it.end, it.source))
