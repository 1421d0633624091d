"""Time, from the log's own clock: how fast it went, when nothing went on, when it was over it.

A partition *stalls* while it holds a record that is not finished and no commit finishes any, for
longer than `STALL_S`. A record is *late* from `LATE_S` after it was appended until it is committed;
the group has recovered when none is late any more. Both say something only of a load that comes at
a pace well below what the workers can do: in a backlog every record is late, and partitions wait
for their turn.

Times are append times of journal records, in epoch milliseconds: they are there afterwards,
whatever was broken when they were written.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from streams.record import Partition
from tests.faults.checkers import Commit

LATE_S: Final = 2.0
BEFORE_S: Final = 2.0
LATE_SHARE_MAX: Final = 0.01
"""If more were late in the last `BEFORE_S` before anything broke, the machine is too busy to say
when it recovered."""
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

    late_s: float | None
    """For how long, from the fault's beginning on, at least one record was late. None if that
    cannot be said: a backlog, or a machine that is too busy."""
    recover_s: float | None
    """From the fault's beginning until the last time that nothing was late any more; 0 if nothing
    was. None as above."""
    stall_s: float | None
    """The longest stall that the fault saw or that followed, counted from its beginning. None for
    a backlog."""
    stalled_partitions: int
    late_before: float
    """Share of the records finished in the last `BEFORE_S` before the fault that were late."""
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
    backlog: bool = False,
) -> Figures:
    """What a fault that lasted from `began_ms` to `ended_ms` did; `backlog` if all of the load was
    there from the beginning.
    """
    hit = [
        Stall(stall.source, max(stall.from_ms, began_ms), stall.to_ms)
        for stall in stalls(commits, appended_ms)
        if stall.to_ms > began_ms
    ]
    first_ms = min((commit.at_ms for commit in commits), default=began_ms)
    last_ms = max((commit.at_ms for commit in commits), default=ended_ms)
    late_before, late = _lateness(commits, appended_ms, began_ms)
    unsaid = backlog or late_before > LATE_SHARE_MAX
    late_until_ms = max((to_ms for _, to_ms in late), default=began_ms)
    return Figures(
        late_s=None if unsaid else _covered_ms(late) / 1000,
        recover_s=None if unsaid else (late_until_ms - began_ms) / 1000,
        stall_s=None if backlog else max((stall.seconds for stall in hit), default=0.0),
        stalled_partitions=len({stall.source for stall in hit}),
        late_before=late_before,
        rate_before=_rate(commits, first_ms, began_ms),
        rate_during=_rate(commits, began_ms, min(ended_ms, max(last_ms, began_ms))),
        rate_after=_rate(commits, ended_ms, last_ms + 1),
    )


def _lateness(
    commits: Iterable[Commit],
    appended_ms: Mapping[Partition, Sequence[tuple[int, int]]],
    began_ms: int,
) -> tuple[float, list[tuple[int, int]]]:
    """The share of late records right before `began_ms`; and from when to when others were late
    after it, those of a commit as one.
    """
    appended = {source: dict(arrivals) for source, arrivals in appended_ms.items()}
    before = late_before = 0
    late = []
    for commit in commits:
        known = appended.get(commit.source, {})
        due_ms = [
            known[position] + int(LATE_S * 1000) for _, run in commit.finished for position in run
        ]
        if commit.at_ms < began_ms - BEFORE_S * 1000:
            continue
        if commit.at_ms < began_ms:
            before += len(due_ms)
            late_before += sum(due < commit.at_ms for due in due_ms)
        elif due_ms and min(due_ms) < commit.at_ms:
            late.append((max(began_ms, min(due_ms)), commit.at_ms))
    return late_before / before if before else 0.0, late


def _covered_ms(spans: Iterable[tuple[int, int]]) -> int:
    """What all of them cover together."""
    covered = last_ms = 0
    for from_ms, to_ms in sorted(spans):
        covered += max(0, to_ms - max(from_ms, last_ms))
        last_ms = max(last_ms, to_ms)
    return covered


def _rate(commits: Iterable[Commit], from_ms: int, to_ms: int) -> float:
    if to_ms <= from_ms:
        return 0.0
    done = sum(commit.count for commit in commits if from_ms <= commit.at_ms < to_ms)
    return done * 1000 / (to_ms - from_ms)
