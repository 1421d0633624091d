"""Tracking: which positions of one assigned partition are finished, and which are committed.

Rules
-----
1. Positions are admitted in increasing order and finish in any order.
2. A finished position covers itself and all back to the one that was admitted before it: what lies
   between is invisible (transaction markers, aborted and compacted records are never admitted) or
   was finished under an earlier owner. So what is finished joins to intervals that do not break at
   every marker.
3. The prefix is the position below which everything is covered. Where nothing is unfinished it is
   as far as the consumer has read, past invisible positions at the tail too.
4. A commit takes what has finished, wherever it lies: the prefix becomes the committed position,
   intervals beyond it go into the commit's mark. What the mark has no room for, or the transaction
   no room to write, stays for a later commit, lowest positions first.
5. Positions that a mark says were finished under an earlier owner are not admitted again.
6. A record that arrived is nothing to do when it arrives again: a client may hand over the last
   ones twice (H14). One that never did, below where we are, is refused: it may pass as committed.

The tracker of an assignment dies with it: whatever was not committed then never happened.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

from consumers.marks import Interval, fits, merged

ARRIVED_KEPT: Final = 1_000
"""Positions by which a record is known again; a client repeats one batch of the source at most."""

R = TypeVar("R")

Finished = tuple[int, int, R]
"""(position, where its interval begins, result)."""


class Selection(Generic[R]):
    """What one commit takes of one partition, and how the partition stands after it."""

    __slots__ = ("beyond", "finished", "full", "prefix")

    def __init__(
        self,
        finished: Sequence[Finished[R]],
        prefix: int,
        beyond: Sequence[Interval],
        *,
        full: bool,
    ) -> None:
        self.finished = finished
        self.prefix = prefix
        self.beyond = beyond
        self.full = full
        """Whether results were left for want of room in the mark."""

    @property
    def results(self) -> list[R]:
        """What finished, in position order."""
        return [result for _, _, result in self.finished]


class PartitionTracker(Generic[R]):
    """Progress on one partition under one assignment; `R` is what a finished record leaves."""

    def __init__(self, start: int, beyond: Sequence[Interval] = ()) -> None:
        self.committed = start
        """The committed position, as far as this assignment knows."""
        self.beyond: Sequence[Interval] = tuple(beyond)
        """Committed beyond it."""
        self.read_to = start
        """The position that will be read next."""
        self._arrived: deque[int] = deque(maxlen=ARRIVED_KEPT)
        """The positions of the records that arrived last."""
        self.unfinished = 0
        """Admitted positions that have not finished."""
        self._admitted_to = start
        """Right behind the position that was admitted last."""
        self._finished: list[Finished[R]] = []
        self._before = tuple(beyond)

    @property
    def finished(self) -> int:
        """Finished positions that no commit has taken."""
        return len(self._finished)

    @property
    def committed_beyond(self) -> int:
        """Positions committed beyond the committed position; invisible ones among them count."""
        return sum(stop - start for start, stop in self.beyond)

    def admit(self, position: int) -> int | None:
        """A record arrived: where its interval begins, to be given to `finish`.

        None if there is nothing to do for it: an earlier owner finished it, or it arrived before
        (H14). Raises `ValueError` for one that was passed: it was taken for no record, and may be
        committed as such.
        """
        if position < self.read_to:
            if position in self._arrived:
                return None
            raise ValueError(f"position {position} arrived after {self.read_to - 1}")
        self.read_to = position + 1
        self._arrived.append(position)
        if self._before:
            if _covers(self._before, position):
                return None
            if position >= self._before[-1][1]:
                self._before = ()
        self.unfinished += 1
        floor, self._admitted_to = self._admitted_to, position + 1
        return floor

    def pass_to(self, position: int) -> None:
        """The consumer will read `position` next: all visible ones below it were admitted."""
        self.read_to = max(self.read_to, position)

    def finish(self, position: int, floor: int, result: R) -> None:
        """An admitted position has finished with this result."""
        self.unfinished -= 1
        self._finished.append((position, floor, result))

    def select(self, room: Callable[[R], bool]) -> Selection[R]:
        """What the next commit takes: as far as there is `room`, asked in position order.

        `committed` or `returned` must follow before the next.
        """
        finished, self._finished = sorted(self._finished), []
        offered = 0
        for _, _, result in finished:
            if not room(result):
                break
            offered += 1
        taken = offered
        while True:
            left = finished[taken:]
            reached = self.committed if self.unfinished or left else self.read_to
            prefix, beyond = _joined(max(self.committed, reached), self._with(finished[:taken]))
            if fits(prefix, beyond):
                break
            taken //= 2
        self._finished = left
        return Selection(finished[:taken], prefix, beyond, full=taken < offered)

    def _with(self, finished: Sequence[Finished[R]]) -> list[Interval]:
        spans = merged((floor, position + 1) for position, floor, _ in finished)
        if not self.beyond:
            return spans
        return merged(sorted([*self.beyond, *spans]))

    def committed_as(self, selection: Selection[R]) -> None:
        """The commit of the last selection succeeded."""
        self.committed = selection.prefix
        self.beyond = selection.beyond

    def returned(self, selection: Selection[R]) -> None:
        """It did not happen: the next commit takes it again."""
        self._finished += selection.finished


def _joined(prefix: int, intervals: list[Interval]) -> tuple[int, list[Interval]]:
    """The prefix moved over the intervals that it reaches, and those beyond it."""
    passed = 0
    for start, stop in intervals:
        if start > prefix:
            break
        prefix = max(prefix, stop)
        passed += 1
    return prefix, intervals[passed:]


def _covers(intervals: Sequence[Interval], position: int) -> bool:
    at = bisect_right(intervals, position, key=_start) - 1
    return at >= 0 and position < intervals[at][1]


def _start(interval: Interval) -> int:
    return interval[0]
