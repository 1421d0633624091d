"""One embedded Kafka in one folder: start it, find it, stop it, from any process.

The folder holds all there is:

    instance.lock     held while somebody starts or stops; the system drops it with its holder
    users.lock        held, shared, by every program that uses a broker it did not keep
    last-run.json     the state of the last start; running or not is asked of the system, not of it
    node-<id>/        server.properties, data/, logs/server.log, logs/console.log

Nothing here has to be repaired after a crash: locks end with their holders, a `last-run.json` whose
processes are gone means "stopped", and Kafka recovers its data when it starts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from pathlib import Path

from streams.brokers.embedded import aot, java, last_run, launch, ports, training
from streams.brokers.embedded.disk import data_home, disk_errors, locked
from streams.brokers.embedded.guarding import Guarded
from streams.brokers.embedded.installing import Progress
from streams.brokers.embedded.last_run import missing
from streams.brokers.embedded.last_words import PortTaken
from streams.brokers.embedded.lock import load_lock
from streams.brokers.embedded.node import ClusterLayout, Node
from streams.brokers.embedded.state import BrokerState, ProcessId
from streams.brokers.embedded.users import counted
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
    """A running broker. `found` says that it ran before this call; `restarted` are the ids of its
    nodes that were gone and that this call started again.
    """

    state: BrokerState
    found: bool
    running: launch.Running
    restarted: tuple[int, ...] = ()


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
        return last_run.read(self.folder)

    def find(self) -> BrokerState | None:
        """The running broker, or None. One whose every process is gone is not running."""
        state = self.last_run()
        if state is None or len(missing(state)) == len(state.nodes):
            return None
        return state

    def log_file(self, node_id: int = 1) -> Path:
        """The log of a node; there may be none yet."""
        return self.folder / f"node-{node_id}" / "logs" / "server.log"

    def start(
        self,
        *,
        port: int | None = None,
        nodes: int | None = None,
        keep: bool = True,
        guarded: Guarded | None = None,
        progress: Progress | None = None,
    ) -> Started:
        """Start the broker, or find the one that already runs here.

        `port` asks for a port (default: that of the last run, or a free one), `nodes` for so many
        nodes (default: as many as the data is for, or one). Of a found cluster, nodes that are gone
        are started again. `keep` as in `BrokerState`; a found broker is kept from now on if this
        call says so. Raises `BrokerError` with what to do; what it started does not run then.
        """
        running_whole = (state := self.find()) is not None and not missing(state)
        jars = None if running_whole else java.kafka_jars(progress=progress)
        with disk_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "instance.lock"):
                state = self._settled()
                self._check_size(nodes)
                if state is not None:
                    return self._found(state, port, keep, jars, guarded)
                state, running = self._launch(
                    jars or java.kafka_jars(progress=progress),
                    port,
                    nodes or last_run.size(self.folder) or 1,
                    guarded,
                    keep,
                )
        return Started(state, found=False, running=running)

    def restart_node(
        self,
        node_id: int,
        running: launch.Running,
        *,
        guarded: Guarded | None = None,
        wait: bool = True,
    ) -> BrokerState:
        """Start one node of a started cluster again, on its data and ports (`launch.relaunch`).

        Raises `BrokerError` if there is no such node, or if it does not come up.
        """
        with disk_errors(self.folder), locked(self.folder / "instance.lock"):
            state = self.last_run()
            if state is None:
                raise BrokerError(f"no broker was started in {self.folder}: start it first")
            ids = [node.node_id for node in state.nodes]
            if node_id not in ids:
                raise BrokerError(f"there is no node {node_id}: this cluster has {ids}")
            return self._relaunch(
                state, running, [ids.index(node_id)], java.kafka_jars(), guarded, wait=wait
            )

    def stop(self) -> Stopped:
        """Stop the broker and wait until it is gone. Also ends what only half runs."""
        if not self.folder.is_dir():
            return Stopped.NOT_RUNNING
        with disk_errors(self.folder), locked(self.folder / "instance.lock"):
            state = self.find()
            if state is None:
                return Stopped.NOT_RUNNING
            clean = launch.Running(state.processes, {}).stop()
            return Stopped.CLEAN if clean else Stopped.KILLED

    @contextmanager
    def used(self) -> Iterator[None]:
        """Hold the broker up while the block runs; the last user stops it unless it is kept."""
        with counted(self.folder, self._stop_unkept):
            yield

    def _stop_unkept(self) -> None:
        state = self.find()
        if state is not None and not state.keep:
            self.stop()

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
        last_run.write(self.folder, state)
        return state

    def _settled(self) -> BrokerState | None:
        """The running broker if it answers; None once it is gone.

        A process that was killed, or is stopping, lives on for a moment: wait for what becomes of
        it. A cluster that has lost nodes is running; whether it answers is seen when they are back.
        """
        deadline = time.monotonic() + SETTLE_TIMEOUT_S
        while (state := self.find()) is not None:
            if missing(state) or describe_cluster(state.bootstrap_servers, timeout_s=1):
                return state
            if time.monotonic() >= deadline:
                raise BrokerError(
                    f"the broker in {self.folder} runs (pid {state.processes[0].pid}) but does not "
                    f"answer at {state.bootstrap_servers}: stop it with `agentlog broker stop` and "
                    "start it again"
                )
        return None

    def _check_size(self, nodes: int | None) -> None:
        size = last_run.size(self.folder)
        if nodes is not None and size is not None and nodes != size:
            raise BrokerError(
                f"the broker in {self.folder} has {size} node{'s' if size > 1 else ''}, not "
                f"{nodes}, and data cannot change the size of its cluster: use another --name, or "
                "stop it and delete that folder with all its data"
            )

    def _found(
        self,
        state: BrokerState,
        port: int | None,
        keep: bool,
        jars: Path | None,
        guarded: Guarded | None,
    ) -> Started:
        if port is not None and port != state.nodes[0].port:
            raise BrokerError(
                f"this broker already runs on port {state.nodes[0].port}: use that, or stop it "
                f"before you start it on port {port}"
            )
        if keep and not state.keep:
            state = replace(state, keep=True)
            last_run.write(self.folder, state)
        running = launch.Running(state.processes, {})
        gone = missing(state)
        if gone:
            state = self._relaunch(
                state, running, gone, jars or java.kafka_jars(), guarded, wait=True
            )
        restarted = tuple(state.nodes[index].node_id for index in gone)
        return Started(state, found=True, running=running, restarted=restarted)

    def _relaunch(
        self,
        state: BrokerState,
        running: launch.Running,
        indexes: Sequence[int],
        jars: Path,
        guarded: Guarded | None,
        *,
        wait: bool,
    ) -> BrokerState:
        """Start some nodes again and write down who they are now."""
        layout = ClusterLayout(self.folder, state.nodes)

        def note(processes: tuple[ProcessId, ...]) -> None:
            last_run.write(self.folder, replace(state, processes=processes))

        relaunch = partial(launch.relaunch, layout, running, indexes, jars, guarded, note)
        try:
            relaunch(aot.flags(jars), wait=wait)
        except aot.CacheCrash as crash:
            aot.distrust(jars, str(crash))
            relaunch(wait=wait)
        return replace(state, processes=running.processes)

    def _launch(
        self, jars: Path, port: int | None, nodes: int, guarded: Guarded | None, keep: bool
    ) -> tuple[BrokerState, launch.Running]:
        last = self.last_run()
        remembered: tuple[Node, ...] = last.nodes if last else ()
        for attempt in range(1, START_ATTEMPTS_MAX + 1):
            chosen = ports.assign_ports(nodes, first_port=port, last_run=remembered)
            layout = ClusterLayout(self.folder, tuple(chosen))
            try:
                note = partial(self._note, layout, keep)
                running = launch.launch(layout, jars, guarded, note, aot.flags(jars))
                training.start_in_background(jars, running.processes)
                return note(running.processes), running
            except PortTaken:
                remembered = ()
                if port is not None or attempt == START_ATTEMPTS_MAX:
                    raise
            except aot.CacheCrash as crash:
                aot.distrust(jars, str(crash))
        raise BrokerError(f"Kafka did not start in {START_ATTEMPTS_MAX} attempts: run again")
