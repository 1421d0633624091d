"""The stage: the demo's processes, started, watched and ended by whoever opened it.

Each one is an ordinary command of ours in a process of its own, with its output in a file.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from streams.errors import AgentlogError

STOP_S_MAX: Final = 30.0
TAIL_LINES: Final = 8


@dataclass(frozen=True, slots=True)
class Actor:
    """One process on the stage."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    """Its stdout and stderr."""


class Stage:
    """Starts processes with one environment; ends what still runs when it closes."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._environment = {**os.environ, **environment}
        self._actors: list[Actor] = []

    def start(self, name: str, *arguments: str) -> Actor:
        """Start `python -m <arguments>`."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 (our own modules)
                [sys.executable, "-m", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self._environment,
            )
        actor = Actor(name, process, log)
        self._actors.append(actor)
        return actor

    def check(self) -> None:
        """Raise if a process ended with an error: nothing would ever finish then."""
        for actor in self._actors:
            code = actor.process.poll()
            if code not in {None, 0}:
                raise AgentlogError(f"{actor.name} ended with {code}: {_last_words(actor.log)}")

    def stop(self, *actors: Actor) -> None:
        """SIGTERM and wait; SIGKILL for what does not end in time."""
        for actor in actors:
            if actor.process.poll() is None:
                actor.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S_MAX
        for actor in actors:
            try:
                actor.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                actor.process.kill()
                actor.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop(*self._actors)


def _last_words(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-TAIL_LINES:]) or "it said nothing"
