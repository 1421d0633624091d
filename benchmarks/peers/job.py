"""What a peer is asked to do, and what it answers: one JSON object each."""

from __future__ import annotations

import sys
import time
from importlib.metadata import version
from pathlib import Path

import msgspec


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Handle so many records of a topic, decoded whole, as a group of your own."""

    bootstrap_servers: str
    topic: str
    group: str
    records: int
    schemas: str
    """File of writer schemas (`benchmarks.wire.load_schemas`)."""
    output_topic: str | None = None
    """Where each handler publishes one report, exactly once; None for handlers that do nothing."""
    batch: bool = False
    """Whether the handler takes lists of records, where the peer has that."""
    as_it_comes: bool = False
    """Whether the peer's own defaults are kept where others are quicker."""
    state_dir: str = ""
    """A folder that the peer may write to."""

    @property
    def schemas_path(self) -> Path:
        """The same as a path."""
        return Path(self.schemas)


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How it went."""

    records: int
    seconds: float
    """From when work on the first record began until the group was left, all committed."""
    versions: dict[str, str]


class Clock:
    """Counts a peer's records, and measures from when work on the first began."""

    def __init__(self, records: int) -> None:
        self._records = records
        self._handled = 0
        self._began_s = 0.0

    def begin(self) -> None:
        """Work on a record, or on a batch, begins; the first one counts."""
        self._began_s = self._began_s or time.perf_counter()

    def count(self, records: int = 1) -> bool:
        """So many are in the handler now; True if these are the last."""
        self.begin()
        self._handled += records
        return self._handled >= self._records

    def done(self, *libraries: str) -> Done:
        """Everything is committed."""
        return Done(
            records=self._handled,
            seconds=time.perf_counter() - self._began_s,
            versions={name: version(name) for name in libraries},
        )


def read_job() -> Job:
    """The job on stdin."""
    return msgspec.json.decode(sys.stdin.buffer.read(), type=Job)


def answer(done: Done) -> None:
    """Say how it went."""
    print(msgspec.json.encode(done).decode(), flush=True)
