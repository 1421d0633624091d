"""Time, from the log's own clock: how fast it went, when nothing went on, when it was over it.

A partition *stalls* while it holds a record that is not finished and no commit finishes any, for
longer than `STALL_S`. Times are append times of journal records, in epoch milliseconds: they are
there afterwards, whatever was broken when they were written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from streams.record import Partition
from tests.faults.checkers import Commit

STALL_S: Final = 1.0
"""A pause that is no stall: a commit's linger, a collector's pause, two cores shared by six."""


class Stall(msgspec.Struct, frozen=True):
    """A time in which a partition had work and nothing of it was finished."""

    source: Partition
    from_ms: int
    to_ms: int

    @property
    def seconds(self) -> float:
        return (self.to_ms - self.from_ms) / 1000


class Figures(msgspec.Struct, frozen=True):
    """What a fault did to the pace. Rates are records finished per second, over both hops."""

    recover_s: float
    """From the fault's beginning to the end of the last stall that it saw or that followed; 0 if
    nothing stalled."""
    stall_s: float
    """The longest of these stalls, counted from the fault's beginning."""
    stalled_partitions: int
    rate_before: float
    rate_during: float
    """While the fault lasted and there was work."""
    rate_after: float


def stalls(
    commits: Iterable[Commit], appended_ms: Mapping[Partition, Sequence[tuple[int, int]]]
) -> list[Stall]:
    """Every stall of every partition. `appended_ms`: (position, append time) of its records."""
    found = []
    by_source: dict[Partition, list[Commit]] = {}
    for commit in commits:
        if commit.count:
            by_source.setdefault(commit.source, []).append(commit)
    for source, own in by_source.items():
        arrivals = appended_ms.get(source, ())
        positions = [position for position, _ in arrivals]
        for before, after in pairwise(own):
            waiting = bisect_right(positions, before.prefix_to - 1)
            if waiting == len(arrivals):
                continue
            since = max(before.at_ms, arrivals[waiting][1])
            if after.at_ms - since > STALL_S * 1000:
                found.append(Stall(source, since, after.at_ms))
    return found


def figures(
    commits: Sequence[Commit],
    appended_ms: Mapping[Partition, Sequence[tuple[int, int]]],
    *,
    began_ms: int,
    ended_ms: int,
) -> Figures:
    """What a fault that lasted from `began_ms` to `ended_ms` did."""
    hit = [
        Stall(stall.source, max(stall.from_ms, began_ms), stall.to_ms)
        for stall in stalls(commits, appended_ms)
        if stall.to_ms > began_ms
    ]
    first_ms = min((commit.at_ms for commit in commits), default=began_ms)
    last_ms = max((commit.at_ms for commit in commits), default=ended_ms)
    return Figures(
        recover_s=max((stall.to_ms - began_ms for stall in hit), default=0) / 1000,
        stall_s=max((stall.seconds for stall in hit), default=0.0),
        stalled_partitions=len({stall.source for stall in hit}),
        rate_before=_rate(commits, first_ms, began_ms),
        rate_during=_rate(commits, began_ms, min(ended_ms, max(last_ms, began_ms))),
        rate_after=_rate(commits, ended_ms, last_ms + 1),
    )


def _rate(commits: Iterable[Commit], from_ms: int, to_ms: int) -> float:
    if to_ms <= from_ms:
        return 0.0
    done = sum(commit.count for commit in commits if from_ms <= commit.at_ms < to_ms)
    return done * 1000 / (to_ms - from_ms)
