"""Start a Java process whose life may be bound to ours: by `guard.py`, a tiny parent of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streams.brokers.embedded import process
from streams.brokers.embedded.state import ProcessId


@dataclass(frozen=True, slots=True)
class Guarded:
    """A life bound to ours, and at its end the deletion of a folder, if one is named."""

    delete: Path | None


Guard = subprocess.Popen[bytes]


def start(
    command: Sequence[str], console: Path, guarded: Guarded | None
) -> tuple[ProcessId, Guard | None]:
    """Start it, its output in `console`. Without `guarded` it outlives us."""
    guard = None
    if guarded is None:
        pid = process.spawn(command, console)
    else:
        script = str(Path(__file__).with_name("guard.py"))
        guard = subprocess.Popen(  # noqa: S603 (our own argv)
            [sys.executable, "-I", "-S", script, str(guarded.delete or ""), str(console), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert guard.stdout is not None
        pid = int(guard.stdout.readline())
    return process.identify(pid) or ProcessId(pid, "died at birth"), guard


def end(guard: Guard, *, keep: bool = False) -> None:
    """Close a guard's input, which ends it and what it guards, and wait for it.

    `keep` leaves the folder that it would delete.
    """
    with suppress(BrokenPipeError):
        guard.communicate(b"keep" if keep else b"")
