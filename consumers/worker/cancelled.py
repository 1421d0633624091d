"""What was cancelled: ids that must not be handled, and why. Pure and bounded."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

CANCELLED_MAX: Final = 100_000
"""Ids remembered; past it the oldest is forgotten, and would be handled if it still came."""


class CancelledIds:
    """The envelope ids that were cancelled most recently."""

    __slots__ = ("_count_max", "_reasons")

    def __init__(self, count_max: int = CANCELLED_MAX) -> None:
        self._count_max = count_max
        # Oldest first. Not a dict: that one walks over all it has forgotten to find its first.
        self._reasons: OrderedDict[str, str] = OrderedDict()

    def add(self, message_id: str, reason: str = "") -> None:
        """Remember an id. One that is cancelled again counts as new, with the new reason."""
        reasons = self._reasons
        reasons[message_id] = reason
        reasons.move_to_end(message_id)
        if len(reasons) > self._count_max:
            reasons.popitem(last=False)

    def reason(self, message_id: str) -> str | None:
        """Why it was cancelled, possibly in no words; None if it was not."""
        return self._reasons.get(message_id)

    def __len__(self) -> int:
        return len(self._reasons)
