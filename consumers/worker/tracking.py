"""Tracking: which positions of one assigned partition are finished.

Rules
-----
1. Positions are admitted in increasing order and finish in any order.
2. The prefix is the position below which everything visible has finished: the lowest unfinished
   position, or, when none is, as far as the consumer has read.
3. Positions that nobody sees (transaction markers, aborted and compacted records) are never
   admitted, so they block nothing. Where they are the tail of the log, `read_to` with the
   consumer's own position carries the prefix past them.
4. Results leave in position order, as the prefix passes them, each exactly once. What is finished
   beyond the prefix stays here: it may not be committed before a restart can know about it.

The tracker of an assignment dies with it: whatever was not taken out of it then never happened.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

R = TypeVar("R")


class PartitionTracker(Generic[R]):
    """Progress on one partition under one assignment; `R` is what a finished record leaves."""

    def __init__(self, start: int) -> None:
        self.committed = start
        """The committed position, as far as this assignment knows."""
        self._read_to = start
        self._unfinished: deque[int] = deque()
        self._beyond: dict[int, R] = {}
        self._passed: list[R] = []

    @property
    def prefix(self) -> int:
        """Everything visible below this position has finished."""
        return self._unfinished[0] if self._unfinished else self._read_to

    @property
    def in_flight(self) -> int:
        """Admitted positions that have not finished."""
        return len(self._unfinished) - len(self._beyond)

    @property
    def settled(self) -> int:
        """Results that `take_settled` would return."""
        return len(self._passed)

    def admit(self, position: int) -> None:
        """A record arrived. Raises `ValueError` if it was admitted or passed before."""
        if position < self._read_to:
            raise ValueError(f"position {position} arrived after {self._read_to - 1}")
        self._unfinished.append(position)
        self._read_to = position + 1

    def read_to(self, position: int) -> None:
        """The consumer will read `position` next: all visible ones below it were admitted."""
        self._read_to = max(self._read_to, position)

    def finish(self, position: int, result: R) -> None:
        """An admitted position has finished with this result."""
        unfinished = self._unfinished
        if position != unfinished[0]:
            self._beyond[position] = result
            return
        unfinished.popleft()
        self._passed.append(result)
        beyond = self._beyond
        while unfinished and unfinished[0] in beyond:
            self._passed.append(beyond.pop(unfinished.popleft()))

    def finished_beyond(self) -> list[int]:
        """Positions at or above the prefix that have finished, in order."""
        return sorted(self._beyond)

    def take_settled(self) -> list[R]:
        """The results that the prefix has passed since the last call, in position order."""
        passed, self._passed = self._passed, []
        return passed
