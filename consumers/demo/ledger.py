"""The ledger: a note of every handler run, kept beside the log.

The log cannot tell how often a handler ran before its outcome committed: a killed worker takes that
with it. So each run appends one fixed-size entry to one file, in one write, which survives the
writer. Entries above the number of distinct records are re-runs; entries by process are the share
of the work.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from streams.record import Record

LEDGER_VARIABLE: Final = "AGENTLOG_DEMO_LEDGER"

_ENTRY: Final = struct.Struct(">IQIIQ")


class Run(NamedTuple):
    """One run of a handler: which process ran it, when (epoch ms), and on which record."""

    pid: int
    at_ms: int
    topic: int
    """CRC-32 of the topic's name: enough to tell the handful of topics apart."""
    partition: int
    position: int

    @property
    def record(self) -> tuple[int, int, int]:
        """What it ran on."""
        return self.topic, self.partition, self.position


class Ledger:
    """Appends entries; each process opens its own."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._pid = os.getpid()

    @classmethod
    def from_environment(cls) -> Ledger | None:
        """The ledger that the director named in the environment, if there is one."""
        path = os.environ.get(LEDGER_VARIABLE)
        return cls(Path(path)) if path else None

    def note(self, record: Record) -> None:
        """A handler begins to run on this record."""
        topic = zlib.crc32(record.topic.encode())
        now_ms = time.time_ns() // 1_000_000
        os.write(
            self._file, _ENTRY.pack(self._pid, now_ms, topic, record.partition, record.position)
        )


def count(path: Path) -> int:
    """How many entries there are by now."""
    return path.stat().st_size // _ENTRY.size if path.exists() else 0


def read(path: Path) -> Iterator[Run]:
    """All entries, in the order they were written."""
    raw = path.read_bytes() if path.exists() else b""
    whole = len(raw) // _ENTRY.size * _ENTRY.size
    return (Run(*entry) for entry in _ENTRY.iter_unpack(raw[:whole]))


def redelivered(runs: Iterable[Run]) -> int:
    """Runs beyond the first on the same record."""
    records = [run.record for run in runs]
    return len(records) - len(set(records))
