"""Bring the processes of one layout up, or say why they did not come up.

1. Write each node's `server.properties`.
2. Format the data of a node that has none (`storage.py`); have one that was killed given up first
   (`fencing.py`).
3. Start the Java processes.
4. Wait until each started node answers and counts all of them in; a process that dies meanwhile is
   diagnosed from its last words. Whatever happens, no process of a failed start is left behind.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from streams.brokers.embedded import fencing, guarding, java, ports, process
from streams.brokers.embedded.aot import uses_cache
from streams.brokers.embedded.guarding import Guard, Guarded
from streams.brokers.embedded.last_words import death, size
from streams.brokers.embedded.node import ClusterLayout, Node, render_properties
from streams.brokers.embedded.state import ProcessId
from streams.brokers.embedded.storage import format_data
from streams.brokers.probe import describe_cluster
from streams.errors import BrokerError

READY_TIMEOUT_S = 180.0  # three nodes take 90 s where ten programs want each core
STOP_TIMEOUT_S = 30.0
STOP_TIMEOUT_MINORITY_S = 5.0
_POLL_S = 0.05

Spawned = Callable[[tuple[ProcessId, ...]], object]
"""Told the processes before the wait for them, so that they can be found if we are killed."""


@dataclass(slots=True)
class Running:
    """The started processes, one per node and in the nodes' order, and the guards that hold them.

    `guards` is by a node's index; a broker that outlives us has none. `flags` are the JVM flags
    beyond the usual that the last start was given.
    """

    processes: tuple[ProcessId, ...]
    guards: dict[int, Guard]
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
            guarding.end(guard)
        self.guards.clear()
        return clean

    def end(self, index: int) -> None:
        """End one node, so that it can be started again; its folder stays."""
        one = [self.processes[index]]
        process.terminate(one, timeout_s=STOP_TIMEOUT_S, rest_s=STOP_TIMEOUT_S)
        process.reap(self.processes[index])
        if (guard := self.guards.pop(index, None)) is not None:
            guarding.end(guard, keep=True)


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
    fencing.give_up_killed(layout, jars, flags)
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
    fencing.give_up_killed(layout, jars, flags)
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
    layout: ClusterLayout, index: int, jars: Path, guarded: Guarded | None, running: Running
) -> ProcessId:
    node = layout.nodes[index]
    folder = layout.node_folder(node)
    command = java.broker_command(
        jars,
        layout.properties(node),
        logs=folder / "logs",
        scratch=folder / "tmp",
        flags=running.flags,
    )
    started, guard = guarding.start(command, layout.console_log(node), guarded)
    if guard is not None:
        running.guards[index] = guard
    return started


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
                raise death(layout, layout.nodes[index], log_starts[index], running.flags)
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


def _log_sizes(layout: ClusterLayout) -> list[int]:
    return [size(layout.server_log(node)) for node in layout.nodes]
