"""Handler starts, counted so that the count survives the process that counts.

Every worker process maps a file of counters, one per hop and one more, into its memory. What it has
counted is the system's, not the process's: SIGKILL takes nothing of it.
"""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

FOLDER: Final = "AGENTLOG_FAULTS_FOLDER"
"""Environment variable: where the counters are kept. Nothing is counted without it."""
SPECIAL: Final = 2
"""The counter of tasks whose handling is a fault in itself; they count at the first hop too."""

_HOPS: Final = 2
_COUNTERS: Final = struct.Struct(f"<{_HOPS + 1}Q")
_SUFFIX: Final = ".starts"


class Starts:
    """The counters of this process."""

    def __init__(self, folder: Path) -> None:
        path = folder / f"{os.getpid()}-{time.monotonic_ns()}{_SUFFIX}"
        path.write_bytes(bytes(_COUNTERS.size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _COUNTERS.size)
        self._counts = [0] * (_HOPS + 1)

    @classmethod
    def of_environment(cls) -> Starts | None:
        """Counters in the folder that the environment names, if it does."""
        folder = os.environ.get(FOLDER)
        return cls(Path(folder)) if folder else None

    def count(self, counter: int) -> None:
        """A handler of this hop (from 0) begins, or one of a `SPECIAL` task."""
        self._counts[counter] += 1
        _COUNTERS.pack_into(self._map, 0, *self._counts)


_own: Final = Starts.of_environment()
if _own is not None:
    # Where every thread of a worker is, in its log, when the suite asks (`Process.tell_stacks`).
    faulthandler.register(signal.SIGUSR1, all_threads=True)


def count_start(counter: int) -> None:
    """A handler of this hop (from 0) begins, or one of a `SPECIAL` task."""
    if _own is not None:
        _own.count(counter)


def starts_of(folder: Path, pid: int) -> int:
    """Handler starts of one process."""
    return sum(sum(counts[:_HOPS]) for counts in _counted(folder, f"{pid}-*"))


def total_starts(folder: Path) -> int:
    """Handler starts of all processes that counted in this folder, dead or alive."""
    return sum(sum(counts[:_HOPS]) for counts in _counted(folder, "*"))


def special_starts(folder: Path, pid: int | None = None) -> int:
    """Of these, the starts on special tasks; of one process alone, if it is given."""
    names = "*" if pid is None else f"{pid}-*"
    return sum(counts[SPECIAL] for counts in _counted(folder, names))


def _counted(folder: Path, names: str) -> Iterator[tuple[int, ...]]:
    for path in folder.glob(f"{names}{_SUFFIX}"):
        content = path.read_bytes()
        if len(content) == _COUNTERS.size:  # else it is just being made
            yield _COUNTERS.unpack(content)
