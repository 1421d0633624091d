"""One embedded Kafka in one folder: start it, find it, stop it, from any process.

The folder holds all there is:

    instance.lock     held while somebody starts or stops; the system drops it with its holder
    users.lock        held, shared, by every program that uses a broker it did not keep
    last-run.json     the state of the last start; running or not is asked of the system, not of it
    node-1/           server.properties, data/, logs/server.log, logs/console.log

Nothing here has to be repaired after a crash: locks end with their holders, a `last-run.json` whose
processes are gone means "stopped", and Kafka recovers its data when it starts.
"""

from __future__ import annotations

import fcntl
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from pathlib import Path

from streams.brokers.embedded import java, launch, ports, process
from streams.brokers.embedded.disk import data_home, disk_errors, locked
from streams.brokers.embedded.jars import Progress
from streams.brokers.embedded.lock import load_lock
from streams.brokers.embedded.node import ClusterLayout, Node
from streams.brokers.embedded.state import BrokerState, ProcessId, parse_state, render_state
from streams.brokers.probe import describe_cluster
from streams.errors import BrokerError, ConfigurationError

DEFAULT_NAME = "default"
START_ATTEMPTS_MAX = 3
SETTLE_TIMEOUT_S = 10.0
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class Stopped(Enum):
    """How a stop went."""

    CLEAN = "clean"
    KILLED = "killed"
    """It did not end in time and was killed; its data recovers on the next start."""
    NOT_RUNNING = "not running"


@dataclass(frozen=True, slots=True)
class Started:
    """A running broker, and whether this call started it (or found it)."""

    state: BrokerState
    found: bool
    running: launch.Running


@dataclass(frozen=True, slots=True)
class Instance:
    """The embedded Kafka that lives in `folder`."""

    folder: Path

    @classmethod
    def named(cls, name: str = DEFAULT_NAME) -> Instance:
        """The instance of that name in the user's data folder."""
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"broker name {name!r} must be 1 to 63 of a-z, 0-9 and '-', not '-' first"
            )
        return cls(data_home() / name)

    def last_run(self) -> BrokerState | None:
        """What the last start wrote, whether it still runs or not."""
        try:
            return parse_state(self._state_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def find(self) -> BrokerState | None:
        """The running broker, or None. One whose every process is gone is not running."""
        state = self.last_run()
        alive = state is not None and any(process.is_alive(p) for p in state.processes)
        return state if alive else None

    def log_file(self) -> Path:
        """The log of the first node; there may be none yet."""
        return self.folder / "node-1" / "logs" / "server.log"

    def start(
        self,
        *,
        port: int | None = None,
        nodes: int = 1,
        keep: bool = True,
        guarded: launch.Guarded | None = None,
        progress: Progress | None = None,
    ) -> Started:
        """Start the broker, or find the one that already runs here.

        `port` asks for a port (default: that of the last run, or a free one). `keep` as in
        `BrokerState`; a found broker is kept from now on if this call says so. Raises `BrokerError`
        with what to do; nothing keeps running then.
        """
        jars = java.kafka_jars(progress=progress) if self.find() is None else None
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "instance.lock"):
                state = self._settled()
                if state is not None:
                    return self._found(state, port, keep)
                state, running = self._launch(
                    jars or java.kafka_jars(progress=progress), port, nodes, guarded, keep
                )
        return Started(state, found=False, running=running)

    def stop(self) -> Stopped:
        """Stop the broker and wait until it is gone. Also ends what only half runs."""
        if not self.folder.is_dir():
            return Stopped.NOT_RUNNING
        with disk_errors(self.folder), locked(self.folder / "instance.lock"):
            state = self.find()
            if state is None:
                return Stopped.NOT_RUNNING
            clean = launch.Running(state.processes, []).stop()
            return Stopped.CLEAN if clean else Stopped.KILLED

    @contextmanager
    def used(self) -> Iterator[None]:
        """Hold the broker up while the block runs; the last user stops it unless it is kept."""
        self.folder.mkdir(parents=True, exist_ok=True)
        users = self.folder / "users.lock"
        try:
            with users.open("ab") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                yield
        finally:
            with users.open("ab") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    pass  # somebody else still uses it, and will be the last
                else:
                    state = self.find()
                    if state is not None and not state.keep:
                        self.stop()

    @property
    def _state_file(self) -> Path:
        return self.folder / "last-run.json"

    def _write(self, state: BrokerState) -> None:
        draft = self._state_file.with_suffix(".draft")
        draft.write_text(render_state(state), encoding="utf-8")
        draft.replace(self._state_file)

    def _note(
        self, layout: ClusterLayout, keep: bool, processes: tuple[ProcessId, ...]
    ) -> BrokerState:
        """Write down what was started just now."""
        state = BrokerState(
            kafka_version=load_lock().kafka_version,
            nodes=layout.nodes,
            processes=processes,
            started_at=datetime.now(UTC),
            keep=keep,
        )
        self._write(state)
        return state

    def _settled(self) -> BrokerState | None:
        """The running broker if it answers; None once it is gone.

        A process that was killed, or is stopping, lives on for a moment: wait for what becomes of
        it. If some nodes are gone, the others are stopped.
        """
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while (state := self.find()) is not None:
            if not all(process.is_alive(p) for p in state.processes):
                launch.Running(state.processes, []).stop()
            elif describe_cluster(state.bootstrap_servers, timeout_s=1) is not None:
                return state
            elif time.monotonic() >= deadline:
                raise BrokerError(
                    f"the broker in {self.folder} runs (pid {state.processes[0].pid}) but does not "
                    f"answer at {state.bootstrap_servers}: stop it with `agentlog broker stop` and "
                    "start it again"
                )
        return None

    def _found(self, state: BrokerState, port: int | None, keep: bool) -> Started:
        if port is not None and port != state.nodes[0].port:
            raise BrokerError(
                f"this broker already runs on port {state.nodes[0].port}: use that, or stop it "
                f"before you start it on port {port}"
            )
        if keep and not state.keep:
            state = replace(state, keep=True)
            self._write(state)
        return Started(state, found=True, running=launch.Running(state.processes, []))

    def _launch(
        self, jars: Path, port: int | None, nodes: int, guarded: launch.Guarded | None, keep: bool
    ) -> tuple[BrokerState, launch.Running]:
        last = self.last_run()
        remembered: tuple[Node, ...] = last.nodes if last else ()
        for attempt in range(1, START_ATTEMPTS_MAX + 1):
            chosen = ports.assign_ports(nodes, first_port=port, last_run=remembered)
            layout = ClusterLayout(self.folder, tuple(chosen))
            try:
                note = partial(self._note, layout, keep)
                running = launch.launch(layout, jars, guarded, note)
                return note(running.processes), running
            except launch.PortTaken:
                remembered = ()
                if port is not None or attempt == START_ATTEMPTS_MAX:
                    raise
        raise AssertionError("unreachable")
