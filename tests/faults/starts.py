"""Handler starts, counted so that the count survives the process that counts.

Every worker process maps a file of two counters, one per hop, into its memory. What it has
counted is the system's, not the process's: SIGKILL takes nothing of it.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import Final

FOLDER: Final = "AGENTLOG_FAULTS_FOLDER"
"""Environment variable: where the counters are kept. Nothing is counted without it."""
HOPS: Final = 2

_COUNTERS: Final = struct.Struct(f"<{HOPS}Q")
_SUFFIX: Final = ".starts"


class Starts:
    """The counters of this process."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"{os.getpid()}-{time.monotonic_ns()}{_SUFFIX}"
        path.write_bytes(bytes(_COUNTERS.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _COUNTERS.size)
        self._counts = [0] * HOPS

    @classmethod
    def of_environment(cls) -> Starts | None:
        """Counters in the folder that the environment names, if it does."""
        folder = os.environ.get(FOLDER)
        return cls(Path(folder)) if folder else None

    def count(self, hop: int) -> None:
        """A handler of this hop (from 0) begins."""
        self._counts[hop] += 1
        _COUNTERS.pack_into(self._map, 0, *self._counts)


def starts_of(folder: Path, pid: int) -> int:
    """Handler starts of one process."""
    return sum(
        sum(_COUNTERS.unpack(path.read_bytes())) for path in folder.glob(f"{pid}-*{_SUFFIX}")
    )


def total_starts(folder: Path) -> int:
    """Handler starts of all processes that counted in this folder, dead or alive."""
    return sum(
        sum(_COUNTERS.unpack(path.read_bytes())) for path in sorted(folder.glob(f"*{_SUFFIX}"))
    )
