"""Bring one registry's process up, or say why it did not come up.

Whatever happens, no process of a failed start is left behind.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from streams.brokers.apicurio.archive import NEED
from streams.brokers.apicurio.configuration import API_PATH, RegistryLayout, registry_command
from streams.brokers.embedded import guarding, process
from streams.brokers.embedded.diagnosis import meaningful
from streams.brokers.embedded.guarding import Guard, Guarded
from streams.brokers.embedded.java import COMMON_FLAGS, java_path
from streams.brokers.embedded.last_words import LAST_WORDS_MAX, last_lines, size
from streams.brokers.embedded.node import HOST
from streams.brokers.embedded.state import ProcessId
from streams.errors import RegistryError

READY_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 30.0
ANSWER_TIMEOUT_S = 2.0
_POLL_S = 0.1

_PORT_TAKEN = re.compile(r"already bound|in use by another process|Address already in use")
_REASONS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        _PORT_TAKEN,
        "port {port} on 127.0.0.1 is in use by another program: choose another one with --port, "
        "or stop that program",
    ),
    (
        re.compile(r"Database may be already in use"),
        "another registry already runs on the data in {data}: stop that one first",
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        "the disk is full at {data}: make room and start again",
    ),
    (
        re.compile(r"Permission denied|Read-only file system|AccessDeniedException"),
        "{data} is not writable: make it writable and start again",
    ),
    (
        re.compile(r"OutOfMemoryError|insufficient memory|Could not reserve enough space"),
        "there was not enough memory for the Java process: free some and start again",
    ),
)


class RegistryPortTaken(RegistryError):
    """A port that was free a moment ago is not any more: worth another try with another one."""


@dataclass(slots=True)
class RunningRegistry:
    """The started process, and the guard that holds it; one that outlives us has none."""

    process: ProcessId
    guard: Guard | None

    def stop(self, *, discard: bool = False) -> bool:
        """Stop it and wait until it is gone. False if it had to be killed.

        `discard` says that nobody will read its data again: it is killed at once.
        """
        if discard:
            process.kill([self.process], timeout_s=STOP_TIMEOUT_S)
        clean = process.terminate([self.process], timeout_s=STOP_TIMEOUT_S, rest_s=STOP_TIMEOUT_S)
        process.reap(self.process)
        if self.guard is not None:
            guarding.end(self.guard)
            self.guard = None
        return clean


def launch(
    layout: RegistryLayout,
    app: Path,
    guarded: Guarded | None,
    on_spawned: Callable[[ProcessId], object],
    more: Mapping[str, str],
) -> RunningRegistry:
    """Start it and return when it answers.

    `on_spawned` is told its process before the wait, so that it can be found if we are killed.
    """
    java = java_path(NEED)
    shutil.rmtree(layout.scratch, ignore_errors=True)
    for folder in (layout.data, layout.scratch, layout.server_log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    layout.console_log.write_bytes(b"")
    log_start = size(layout.server_log)
    command = registry_command(java, app, layout, COMMON_FLAGS, more)
    running = RunningRegistry(*guarding.start(command, layout.console_log, guarded))
    try:
        on_spawned(running.process)
        _wait_ready(layout, running, log_start)
    except BaseException:
        running.stop()
        raise
    return running


def answers(layout: RegistryLayout) -> bool:
    """Whether it takes requests, be it only to ask who we are."""
    connection = HTTPConnection(HOST, layout.port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", f"{API_PATH}/mode")
        return connection.getresponse().status < HTTPStatus.INTERNAL_SERVER_ERROR
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _wait_ready(layout: RegistryLayout, running: RunningRegistry, log_start: int) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not answers(layout):
        if not process.is_alive(running.process):
            raise _death(layout, log_start)
        if time.monotonic() >= deadline:
            raise RegistryError(
                f"the registry did not answer within {READY_TIMEOUT_S:g} s and was stopped; its "
                f"log is {layout.server_log}: run again on a less busy machine"
            )
        time.sleep(_POLL_S)


def _death(layout: RegistryLayout, log_start: int) -> RegistryError:
    log, console = layout.server_log, layout.console_log
    said = last_lines(console, LAST_WORDS_MAX) + last_lines(log, LAST_WORDS_MAX, log_start)
    kind = RegistryPortTaken if any(map(_PORT_TAKEN.search, said)) else RegistryError
    return kind(explain_death(layout, said))


def explain_death(layout: RegistryLayout, lines: Sequence[str]) -> str:
    """The sentence for a registry's process that ended before its time; pure."""
    log = layout.server_log
    for pattern, sentence in _REASONS:
        if any(pattern.search(line) for line in lines):
            reason = sentence.format(port=layout.port, data=layout.data)
            return f"the registry could not start: {reason} (log: {log})"
    quoted = " | ".join(meaningful(lines)) or "it said nothing"
    return (
        f"the registry could not start; its last words: {quoted}. The whole log is {log}; if the "
        f"data is broken, move {layout.data} away to start empty"
    )
