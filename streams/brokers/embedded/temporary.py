"""A Kafka for the length of a `with` block: for tests, demos and benchmarks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from streams.brokers.embedded.instance import Instance
from streams.brokers.embedded.jars import Progress
from streams.brokers.embedded.launch import Guarded, Running
from streams.brokers.embedded.state import BrokerState
from streams.errors import BrokerError


class EmbeddedKafka:
    """A real Apache Kafka on 127.0.0.1 that ends with the block, or with this process.

        with EmbeddedKafka() as kafka:
            producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers)

    Without `data_dir` its data lives in a temporary folder and is deleted at the end, even when
    this process is killed. With `data_dir` the data stays, and the next one on the same folder
    starts with it. Entering raises `BrokerError` if Kafka cannot be started.
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
            raise BrokerError("this Kafka is not running: enter its `with` block first")
        return self._state

    def start(self) -> Self:
        """Start it; returns when it answers."""
        if self._data_dir is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="agentlog-kafka-"))
        instance = Instance(self._data_dir or self._temporary or Path())
        try:
            started = instance.start(
                port=self._port,
                nodes=self._nodes,
                keep=False,
                guarded=Guarded(delete=self._temporary),
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

    def stop(self) -> None:
        """Stop it, wait until it is gone, delete its data if that is temporary."""
        if self._running is not None:
            self._running.stop()
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

    def _delete(self) -> None:
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
