"""Faults on demand: which call on the in-memory log goes wrong next, and how.

For tests and simulations. A fault waits until its call comes, and happens once.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Final


class Fault(Enum):
    """What may go wrong, and what is true afterwards."""

    INIT_UNANSWERED = auto()
    """A producer cannot be had; nothing changed."""
    APPEND_REFUSED = auto()
    """A record is not taken; its transaction must be aborted."""
    POSITIONS_REFUSED = auto()
    """Positions are not taken; their transaction must be aborted."""
    COMMIT_REFUSED = auto()
    """The commit demands an abort; nothing happened."""
    COMMIT_LOST = auto()
    """The commit never arrives, nor an answer; the transaction stays open."""
    COMMIT_ANSWER_LOST = auto()
    """The commit happens; its answer does not arrive."""
    COMMIT_DELAYED = auto()
    """No answer; the request arrives when `MemoryLog.deliver_delayed` says so (H1)."""
    COMMITTED_UNANSWERED = auto()
    """Committed positions cannot be read now."""


class Faults:
    """The faults that wait for their call, and the requests that are delayed."""

    def __init__(self) -> None:
        self._waiting: dict[Fault, int] = {}
        self.delayed: list[Callable[[], None]] = []
        """Requests under way, in the order they were sent."""

    def plan(self, fault: Fault, times: int) -> None:
        """Let the next `times` calls of its kind go wrong."""
        self._waiting[fault] = self._waiting.get(fault, 0) + times

    def take(self, fault: Fault) -> bool:
        """Whether it is to happen now."""
        left = self._waiting.get(fault, 0)
        if left:
            self._waiting[fault] = left - 1
        return left > 0


COMMIT_FAULTS: Final = (
    Fault.COMMIT_REFUSED,
    Fault.COMMIT_LOST,
    Fault.COMMIT_ANSWER_LOST,
    Fault.COMMIT_DELAYED,
)
