"""Bring the processes of one layout up, or say why they did not come up.

1. Write each node's `server.properties`.
2. Format the data of a node that has none (`storage.py`).
3. Start the Java processes.
4. Wait until each started node answers and counts all of them in; a process that dies meanwhile is
   diagnosed from its last words. Whatever happens, no process of a failed start is left behind.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streams.brokers.embedded import java, ports, process
from streams.brokers.embedded.aot import CacheCrash, uses_cache
from streams.brokers.embedded.diagnosis import explain_death, is_port_taken
from streams.brokers.embedded.node import ClusterLayout, Node, render_properties
from streams.brokers.embedded.state import ProcessId
from streams.brokers.embedded.storage import format_data
from streams.brokers.probe import describe_cluster
from streams.errors import BrokerError

READY_TIMEOUT_S = 180.0  # three nodes take 90 s where ten programs want each core
STOP_TIMEOUT_S = 30.0
STOP_TIMEOUT_MINORITY_S = 5.0
LAST_WORDS_MAX = 200
_POLL_S = 0.05

Spawned = Callable[[tuple[ProcessId, ...]], object]
"""Told the processes before the wait for them, so that they can be found if we are killed."""


class PortTaken(BrokerError):
    """A port that was free a moment ago is not any more: worth another try with other ports."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """Deletion and a life bound to ours, for a temporary broker (see `guard.py`)."""

    delete: Path | None


@dataclass(slots=True)
class Running:
    """The started processes, one per node and in the nodes' order, and the guards that hold them.

    `guards` is by a node's index; a broker that outlives us has none. `flags` are the JVM flags
    beyond the usual that the last start was given.
    """

    processes: tuple[ProcessId, ...]
    guards: dict[int, subprocess.Popen[bytes]]
    flags: tuple[str, ...] = ()

    def stop(self, *, discard: bool = False) -> bool:
        """Stop all, wait until all are gone. False if one had to be killed.

        `discard` says that nobody will read the data again: they are killed at once.
        """
        if discard:
            process.kill(self.processes, timeout_s=STOP_TIMEOUT_S)
        clean = process.terminate(
            self.processes, timeout_s=STOP_TIMEOUT_S, rest_s=STOP_TIMEOUT_MINORITY_S
        )
        for one in self.processes:
            process.reap(one)
        for guard in self.guards.values():
            _end_guard(guard)
        self.guards.clear()
        return clean

    def end(self, index: int) -> None:
        """End one node, so that it can be started again; its folder stays."""
        one = [self.processes[index]]
        process.terminate(one, timeout_s=STOP_TIMEOUT_S, rest_s=STOP_TIMEOUT_S)
        process.reap(self.processes[index])
        if (guard := self.guards.pop(index, None)) is not None:
            _end_guard(guard, b"keep")


def launch(
    layout: ClusterLayout,
    jars: Path,
    guarded: Guarded | None,
    on_spawned: Spawned,
    flags: Sequence[str] = (),
) -> Running:
    """Start every node of `layout` and return when the cluster answers (steps 1 to 4).

    `flags` are further ones for the JVM (`aot.flags`).
    """
    for node in layout.nodes:
        _prepare(layout, node)
    format_data(layout, jars, flags if uses_cache(flags) else ())
    running = Running((), {}, tuple(flags))
    log_starts = _log_sizes(layout)
    try:
        for index in range(len(layout.nodes)):
            started = _start(layout, index, jars, guarded, running)
            running.processes = (*running.processes, started)
        on_spawned(running.processes)
        _wait_ready(layout, running, range(len(layout.nodes)), log_starts)
    except BaseException:
        running.stop()
        raise
    return running


def relaunch(
    layout: ClusterLayout,
    running: Running,
    indexes: Collection[int],
    jars: Path,
    guarded: Guarded | None,
    on_spawned: Spawned,
    flags: Sequence[str] = (),
    *,
    wait: bool = True,
) -> None:
    """Start some nodes of a cluster again, on their own data and ports; `running` is updated.

    One that still lives is ended first. The other nodes are left as they are, whatever happens.
    With `wait` it returns when each started node answers and the cluster counts it in: that takes a
    majority of the nodes.
    """
    running.flags = tuple(flags)
    for index in indexes:
        running.end(index)
        _prepare(layout, layout.nodes[index])
    log_starts = _log_sizes(layout)
    try:
        for index in indexes:
            started = _start(layout, index, jars, guarded, running)
            before, after = running.processes[:index], running.processes[index + 1 :]
            running.processes = (*before, started, *after)
            on_spawned(running.processes)
        if wait:
            _wait_ready(layout, running, indexes, log_starts)
    except BaseException:
        for index in indexes:
            running.end(index)
        raise


def _prepare(layout: ClusterLayout, node: Node) -> None:
    folder = layout.node_folder(node)
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    for name in ("data", "logs", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    layout.crash_log(node).unlink(missing_ok=True)
    layout.console_log(node).write_bytes(b"")
    layout.properties(node).write_text(render_properties(layout, node), encoding="utf-8")


def _start(
    layout: ClusterLayout,
    index: int,
    jars: Path,
    guarded: Guarded | None,
    running: Running,
) -> ProcessId:
    node = layout.nodes[index]
    folder, console = layout.node_folder(node), layout.console_log(node)
    command = java.broker_command(
        jars,
        layout.properties(node),
        logs=folder / "logs",
        scratch=folder / "tmp",
        flags=running.flags,
    )
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
        running.guards[index] = guard
        assert guard.stdout is not None
        pid = int(guard.stdout.readline())
    return process.identify(pid) or ProcessId(pid, "died at birth")


def _end_guard(guard: subprocess.Popen[bytes], last_word: bytes = b"") -> None:
    """Close a guard's input, which ends it, and wait for it."""
    with suppress(BrokenPipeError):
        guard.communicate(last_word)


def _wait_ready(
    layout: ClusterLayout,
    running: Running,
    indexes: Collection[int],
    log_starts: Sequence[int],
) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    started = {layout.nodes[index].node_id for index in indexes}
    silent = list(indexes)
    while silent:
        for index in indexes:
            if not process.is_alive(running.processes[index]):
                raise _death(layout, layout.nodes[index], log_starts[index], running.flags)
        node = layout.nodes[silent[0]]
        if ports.accepts(node.port):
            info = describe_cluster(node.address, timeout_s=2)
            if info is not None and started <= info.broker_ids:
                del silent[0]
                continue
        if time.monotonic() >= deadline:
            raise BrokerError(
                f"Kafka did not answer within {READY_TIMEOUT_S:g} s and was stopped; its log is "
                f"{layout.server_log(node)}: run again on a less busy machine"
            )
        time.sleep(_POLL_S)


def _death(layout: ClusterLayout, node: Node, log_start: int, flags: Sequence[str]) -> BrokerError:
    log, console = layout.server_log(node), layout.console_log(node)
    lines = [*last_lines(console, LAST_WORDS_MAX), *last_lines(log, LAST_WORDS_MAX, log_start)]
    kind = PortTaken if is_port_taken(lines) else BrokerError
    if uses_cache(flags) and layout.crash_log(node).exists():
        kind = CacheCrash
    log = log if log.exists() else console
    return kind(explain_death(layout, node, lines, log, "start"))


def last_lines(path: Path, count: int, start: int = 0) -> list[str]:
    """The last `count` lines of a text file after byte `start`; none if there is no file."""
    try:
        with path.open("rb") as file:
            size = _size(path)
            start = 0 if start > size else start  # the log rolled meanwhile
            file.seek(max(start, size - 512 * count))
            return file.read().decode("utf-8", errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def _log_sizes(layout: ClusterLayout) -> list[int]:
    return [_size(layout.server_log(node)) for node in layout.nodes]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
