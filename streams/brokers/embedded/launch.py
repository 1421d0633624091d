"""Bring the processes of one layout up, or say why they did not come up.

1. Write each node's `server.properties`.
2. Format the data of a node that has none (Kafka's own StorageTool).
3. Start the Java processes.
4. Wait until the cluster answers with all its nodes; a process that dies meanwhile is diagnosed
   from its last words, and the others are stopped. Whatever happens, no process is left behind.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streams.brokers.embedded import java, ports, process
from streams.brokers.embedded.diagnosis import explain_death, is_port_taken
from streams.brokers.embedded.node import ClusterLayout, Node, render_properties
from streams.brokers.embedded.state import ProcessId
from streams.brokers.probe import describe_cluster
from streams.errors import BrokerError

READY_TIMEOUT_S = 90.0
FORMAT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
LAST_WORDS_MAX = 200
_POLL_S = 0.05


class PortTaken(BrokerError):
    """A port that was free a moment ago is not any more: worth another try with other ports."""


@dataclass(frozen=True, slots=True)
class Guarded:
    """Deletion and a life bound to ours, for a temporary broker (see `guard.py`)."""

    delete: Path | None


@dataclass(slots=True)
class Running:
    """The started processes, one per node, and the guards that hold them, if any."""

    processes: tuple[ProcessId, ...]
    guards: list[subprocess.Popen[str]]

    def stop(self) -> bool:
        """Stop all, wait until all are gone. False if one had to be killed."""
        clean = process.terminate(self.processes, timeout_s=STOP_TIMEOUT_S)
        for one in self.processes:
            process.reap(one)
        for guard in self.guards:
            with suppress(BrokenPipeError):
                guard.communicate()  # closes its input, which ends it
        self.guards.clear()
        return clean


def launch(
    layout: ClusterLayout,
    jars: Path,
    guarded: Guarded | None,
    on_spawned: Callable[[tuple[ProcessId, ...]], object],
) -> Running:
    """Start every node of `layout` and return when the cluster answers (steps 1 to 4).

    `on_spawned` is told the processes before the wait, so that they can be found if we are killed.
    """
    for node in layout.nodes:
        _prepare(layout, node)
    _format(layout, jars)
    running = Running((), [])
    log_starts = [_size(server_log(layout, node)) for node in layout.nodes]
    try:
        for node in layout.nodes:
            started = _start(layout, node, jars, guarded, running.guards)
            running.processes = (*running.processes, started)
        on_spawned(running.processes)
        _wait_ready(layout, running.processes, log_starts)
    except BaseException:
        running.stop()
        raise
    return running


def server_log(layout: ClusterLayout, node: Node) -> Path:
    """Where a node's Kafka writes its log."""
    return layout.node_folder(node) / "logs" / "server.log"


def _console_log(layout: ClusterLayout, node: Node) -> Path:
    """Where a node's JVM writes what never reaches the log: its own last words."""
    return layout.node_folder(node) / "logs" / "console.log"


def _properties(layout: ClusterLayout, node: Node) -> Path:
    return layout.node_folder(node) / "server.properties"


def _prepare(layout: ClusterLayout, node: Node) -> None:
    folder = layout.node_folder(node)
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    for name in ("data", "logs", "tmp"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    _console_log(layout, node).write_bytes(b"")
    _properties(layout, node).write_text(render_properties(layout, node), encoding="utf-8")


def fresh_cluster_id(make: Callable[[], uuid.UUID]) -> str:
    """A cluster id as Kafka writes them: never with `-` first, which its tools take for an option
    (one random id in 64 would).
    """
    while True:
        cluster_id = base64.urlsafe_b64encode(make().bytes).decode().rstrip("=")
        if not cluster_id.startswith("-"):
            return cluster_id


def _format(layout: ClusterLayout, jars: Path) -> None:
    fresh = [
        node
        for node in layout.nodes
        if not (layout.node_folder(node) / "data" / "meta.properties").exists()
    ]
    if not fresh:
        return
    cluster_id = fresh_cluster_id(uuid.uuid4)
    for node in fresh:
        command = java.short_command(
            jars,
            "kafka.tools.StorageTool",
            *("format", "--cluster-id", cluster_id, "--ignore-formatted"),
            *("--config", str(_properties(layout, node))),
        )
        try:
            done = subprocess.run(  # noqa: S603 (our own argv)
                command,
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
                timeout=FORMAT_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerError(
                f"Kafka could not prepare its data within {FORMAT_TIMEOUT_S:g} s: run again on a "
                "less busy machine"
            ) from error
        if done.returncode != 0:
            log = _console_log(layout, node)
            said = done.stdout + done.stderr
            log.write_text(said, encoding="utf-8")
            raise BrokerError(
                explain_death(layout, node, said.splitlines(), log, "prepare its data")
            )


def _start(
    layout: ClusterLayout,
    node: Node,
    jars: Path,
    guarded: Guarded | None,
    guards: list[subprocess.Popen[str]],
) -> ProcessId:
    folder, console = layout.node_folder(node), _console_log(layout, node)
    command = java.broker_command(
        jars, _properties(layout, node), logs=folder / "logs", scratch=folder / "tmp"
    )
    if guarded is None:
        pid = process.spawn(command, console)
    else:
        script = str(Path(__file__).with_name("guard.py"))
        guard = subprocess.Popen(  # noqa: S603 (our own argv)
            [sys.executable, "-I", "-S", script, str(guarded.delete or ""), str(console), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        guards.append(guard)
        assert guard.stdout is not None
        pid = int(guard.stdout.readline())
    return process.identify(pid) or ProcessId(pid, "died at birth")


def _wait_ready(
    layout: ClusterLayout, processes: Sequence[ProcessId], log_starts: Sequence[int]
) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        for node, running, log_start in zip(layout.nodes, processes, log_starts, strict=True):
            if not process.is_alive(running):
                raise _death(layout, node, log_start)
        if all(ports.accepts(node.port) for node in layout.nodes):
            info = describe_cluster(layout.bootstrap_servers, timeout_s=2)
            if info is not None and info.brokers == len(layout.nodes):
                return
        if time.monotonic() >= deadline:
            raise BrokerError(
                f"Kafka did not answer within {READY_TIMEOUT_S:g} s and was stopped; its log is "
                f"{server_log(layout, layout.nodes[0])}: run again on a less busy machine"
            )
        time.sleep(_POLL_S)


def _death(layout: ClusterLayout, node: Node, log_start: int) -> BrokerError:
    log, console = server_log(layout, node), _console_log(layout, node)
    lines = [*last_lines(console, LAST_WORDS_MAX), *last_lines(log, LAST_WORDS_MAX, log_start)]
    kind = PortTaken if is_port_taken(lines) else BrokerError
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


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
