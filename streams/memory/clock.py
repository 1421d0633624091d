"""A clock that stands still until somebody moves it."""

from __future__ import annotations

from typing import Final

EPOCH_US: Final = 1_767_225_600_000_000
"""2026-01-01T00:00:00Z: when simulated time begins."""


class ManualClock:
    """A `Clock` that its owner sets. It never goes back."""

    def __init__(self, now_us: int = EPOCH_US) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        """UTC microseconds since the epoch."""
        return self._now_us

    def advance_ms(self, ms: int) -> None:
        """Let this much time pass. Raises `ValueError` for a negative time."""
        if ms < 0:
            raise ValueError(f"time cannot go back by {-ms} ms")
        self._now_us += ms * 1000
