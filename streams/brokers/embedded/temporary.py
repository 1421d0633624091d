"""A Kafka for the length of a `with` block: for tests, demos and benchmarks."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.brokers.embedded import process
from streams.brokers.embedded.guarding import Guarded
from streams.brokers.embedded.installing import Progress
from streams.brokers.embedded.instance import Instance
from streams.brokers.embedded.launch import Running
from streams.brokers.embedded.state import BrokerState, ProcessId
from streams.errors import BrokerError

_NOT_RUNNING = "this Kafka is not running: enter its `with` block first"


class EmbeddedKafka:
    """A real Apache Kafka on 127.0.0.1 that ends with the block, or with this process.

        with EmbeddedKafka() as kafka:
            producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)

        with EmbeddedKafka(nodes=3) as kafka:
            os.kill(kafka.nodes[0].pid, signal.SIGKILL)
            kafka.nodes[0].start()

    Without `data_dir` its data lives in a temporary folder and is deleted at the end, even when
    this process is killed; it is then killed rather than stopped, as nobody reads its data again.
    With `data_dir` the data stays, and the next one on the same folder starts with it. Entering
    raises `BrokerError` if Kafka cannot be started.
    """

    def __init__(
        self,
        *,
        data_dir: Path | None = None,
        port: int | None = None,
        nodes: int = 1,
        progress: Progress | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._port = port
        self._nodes = nodes
        self._progress = progress
        self._state: BrokerState | None = None
        self._running: Running | None = None
        self._temporary: Path | None = None

    @property
    def bootstrap_servers(self) -> str:
        """`host:port,…` for clients, while it runs."""
        return self.state.bootstrap_servers

    @property
    def state(self) -> BrokerState:
        """Its nodes, ports and processes, while it runs."""
        if self._state is None:
            raise BrokerError(_NOT_RUNNING)
        return self._state

    @property
    def folder(self) -> Path:
        """Where its data and logs live, while it runs."""
        folder = self._data_dir or self._temporary
        if folder is None:
            raise BrokerError(_NOT_RUNNING)
        return folder

    @property
    def nodes(self) -> tuple[RunningNode, ...]:
        """A handle for each node, while it runs; it stays good when its node is started again."""
        return tuple(RunningNode(self, index) for index in range(len(self.state.nodes)))

    def start(self) -> Self:
        """Start it; returns when it answers."""
        if self._data_dir is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="agentlog-kafka-"))
        instance = Instance(self.folder)
        try:
            started = instance.start(
                port=self._port,
                nodes=self._nodes,
                keep=False,
                guarded=self._guarded(),
                progress=self._progress,
            )
            if started.found:
                raise BrokerError(
                    f"another broker already runs in {instance.folder}: stop it, or use another "
                    "data_dir"
                )
        except BaseException:
            self._delete()
            raise
        self._state, self._running = started.state, started.running
        return self

    def restart_node(self, node_id: int, *, wait: bool = True) -> None:
        """Start one node again, on its data and ports; the others are left alone.

        For a node that was killed; one that still lives, or that SIGSTOP holds, is stopped first.
        Returns when the node answers and the cluster counts it in, which takes a majority of the
        nodes; whether it is in sync with its partitions' leaders is the caller's to wait for.
        `wait=False` returns as soon as its process is there, for when a majority is down. Raises
        `BrokerError` if there is no such node, or if it does not come up.
        """
        if self._running is None:
            raise BrokerError(_NOT_RUNNING)
        instance = Instance(self.folder)
        try:
            instance.restart_node(node_id, self._running, guarded=self._guarded(), wait=wait)
        finally:
            self._state = instance.last_run() or self._state

    def stop(self) -> None:
        """Stop it, wait until it is gone, delete its data if that is temporary."""
        if self._running is not None:
            self._running.stop(discard=self._temporary is not None)
        self._state = self._running = None
        self._delete()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _guarded(self) -> Guarded:
        return Guarded(delete=self._temporary)

    def _delete(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None


@dataclass(frozen=True, slots=True)
class RunningNode:
    """One node of an `EmbeddedKafka`, as it is now: its process may be another one next time.

    For tests of failures: signal `pid` as the fault asks for (SIGKILL, SIGSTOP, SIGCONT), then
    `start()` what was killed.
    """

    kafka: EmbeddedKafka
    index: int

    @property
    def node_id(self) -> int:
        """Kafka's id of it; counts from 1."""
        return self.kafka.state.nodes[self.index].node_id

    @property
    def port(self) -> int:
        """Its port for clients on 127.0.0.1; stays the same."""
        return self.kafka.state.nodes[self.index].port

    @property
    def pid(self) -> int:
        """Its process, dead or alive."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether its process is there (one that SIGSTOP holds is)."""
        return process.is_alive(self._process)

    @property
    def log_file(self) -> Path:
        """Where its Kafka writes its log."""
        return Instance(self.kafka.folder).log_file(self.node_id)

    def start(self, *, wait: bool = True) -> None:
        """`EmbeddedKafka.restart_node` for this node."""
        self.kafka.restart_node(self.node_id, wait=wait)

    @property
    def _process(self) -> ProcessId:
        return self.kafka.state.processes[self.index]
