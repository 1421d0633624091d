"""How far all ranges are, counted by whoever folds them; and whether they should go on."""

from __future__ import annotations

import ctypes
import threading
from contextlib import AbstractContextManager
from typing import Any, Final

_STOPPED: Final = -1


class Stopped(Exception):
    """The others have given up, so this range is of no use any more."""


class Passed:
    """Positions passed. Shared by threads as it is, by processes around a shared number."""

    def __init__(self, number: Any = None, lock: AbstractContextManager[Any] | None = None) -> None:
        """`number.value` is a signed 64-bit integer that `lock` guards."""
        self._number = ctypes.c_int64(0) if number is None else number
        self._lock = threading.Lock() if lock is None else lock

    def add(self, positions: int) -> None:
        """Count them. Raises `Stopped` if nobody wants more."""
        with self._lock:
            if self._number.value == _STOPPED:
                raise Stopped
            self._number.value += positions

    def stop(self) -> None:
        """Let everybody end at the next batch."""
        with self._lock:
            self._number.value = _STOPPED

    @property
    def positions(self) -> int:
        """So far."""
        with self._lock:
            return int(self._number.value)
