"""What a client complains of, told seldom: with its brokers away it says the same all the time."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from confluent_kafka import KafkaError

EVERY_S: Final = 10.0
"""One line in this time for each kind of error."""


class Complaints:
    """Warns of a client's errors as `event`, each with the `count` of its kind since the last line.

    Called on the client's own threads; a count may miss one of two that come at once.
    """

    def __init__(self, log: Any, event: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._event = event
        self._clock = clock
        self._told_at: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def tell(self, error: KafkaError) -> None:
        """Say it, unless its kind was said just now."""
        kind, now = error.name(), self._clock()
        self._counts[kind] += 1
        if now - self._told_at.get(kind, -EVERY_S) >= EVERY_S:
            self._told_at[kind] = now
            self._log.warning(
                self._event, error=error.str(), code=kind, count=self._counts.pop(kind)
            )
