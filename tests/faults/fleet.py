"""Worker processes of one group, each of which can be killed, paused and replaced on its own.

They are what `agentlog worker` starts, and a process that dies is treated as its supervisor treats
it: what it left open on the log is ended, and another takes its place. Only here each process can
be named, given other bootstrap servers, or started inside a network namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException

from consumers.worker.transactions import end_open_transaction
from consumers.worker.worker import new_run_id
from streams.topics import Namespace
from tests.faults.ground import Ground
from tests.faults.starts import FOLDER

REPLACE_S: Final = 0.5
"""From a death to the next process in its place, as the supervisor's shortest wait."""
STOP_S_MAX: Final = 90.0
"""How long a process may take to drain and leave."""
SLOW_STOP_S: Final = 20.0
"""After this it is asked where it is: its log then holds the stack of every thread."""
DEATHS_MAX: Final = 50
"""Deaths that nobody caused after which no more processes are started."""


class Process:
    """One worker process."""

    def __init__(self, process: asyncio.subprocess.Process, run_id: str) -> None:
        self._process = process
        self.run_id = run_id
        self.replaced = asyncio.Event()
        """Set once another process has its place."""
        self.wanted_dead = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL."""
        self.wanted_dead = True
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it makes no step, and knows nothing of it."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def tell_stacks(self) -> None:
        """SIGUSR1: write into its log where each of its threads is."""
        self._signal(signal.SIGUSR1)

    def end(self) -> None:
        """SIGTERM: drain, commit, leave."""
        self._signal(signal.SIGTERM)

    async def wait(self) -> int:
        return await self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)


class Fleet:
    """The processes of one namespace's group. Their logs are in `folder`, named by run id."""

    def __init__(self, servers: str, namespace: Namespace, ground: Ground, folder: Path) -> None:
        self._servers = servers
        self._namespace = namespace
        self._ground = ground
        self._folder = folder
        self._keepers: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.processes: list[Process] = []
        """Those that have a place now, in the order in which they got it."""
        self.started = 0
        self.deaths: list[tuple[str, int]] = []
        """(run id, exit code) of every process that ended without being told to."""

    async def start(
        self,
        *,
        servers: str | None = None,
        prefix: Sequence[str] = (),
        run_id: Callable[[], str] = new_run_id,
    ) -> Process:
        """Start a process and keep its place filled: its successors are started alike.

        `prefix` goes before the command line (`nsenter …`).
        """

        async def spawn() -> Process:
            return await self._spawn(run_id(), servers or self._servers, prefix)

        first = await spawn()
        self._keepers.add(asyncio.create_task(self._keep(first, spawn)))
        return first

    async def _spawn(self, run_id: str, servers: str, prefix: Sequence[str]) -> Process:
        log = self._folder / f"worker-{run_id}.log"
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *prefix,
                *(sys.executable, "-m", "consumers.worker.process", "--app", self._ground.app),
                *("--run-id", run_id, "--parent", str(os.getpid())),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={
                    **os.environ,
                    "AGENTLOG_BOOTSTRAP_SERVERS": servers,
                    "AGENTLOG_NAMESPACE": self._namespace.name,
                    "AGENTLOG_LOG_LEVEL": "info",
                    FOLDER: str(self._folder),
                },
            )
        found = Process(process, run_id)
        self.processes.append(found)
        self.started += 1
        return found

    async def _keep(self, process: Process, spawn: Callable[[], Awaitable[Process]]) -> None:
        while True:
            code = await process.wait()
            self.processes.remove(process)
            if code == 0 or not self._wanted():
                return
            if not process.wanted_dead:
                self.deaths.append((process.run_id, code))
            await self._settle(process.run_id)
            await asyncio.sleep(REPLACE_S)
            if not self._wanted():
                return
            successor = await spawn()
            process.replaced.set()
            process = successor

    def _wanted(self) -> bool:
        return not self._stopping and len(self.deaths) <= DEATHS_MAX

    async def _settle(self, run_id: str) -> None:
        """End what a dead process left open, as its supervisor does."""
        transactional_id = self._namespace.transactional_id(self._ground.group, run_id)
        with contextlib.suppress(KafkaException):  # its transaction's timeout ends it then
            await asyncio.to_thread(end_open_transaction, self._servers, transactional_id)

    async def stop(self) -> list[tuple[str, int]]:
        """SIGTERM to all; returns those that did not end cleanly, as (run id, exit code)."""
        self._stopping = True
        processes = list(self.processes)
        for process in processes:
            process.resume()
            process.end()
        for limit_s in (SLOW_STOP_S, STOP_S_MAX):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    await asyncio.gather(*(process.wait() for process in processes))
            for process in processes:
                if process.exit_code is None:
                    process.tell_stacks()
        for process in processes:
            if process.exit_code is None:
                process.kill()
        codes = [(process.run_id, await process.wait()) for process in processes]
        await asyncio.gather(*self._keepers)
        return [(run_id, code) for run_id, code in codes if code != 0]
