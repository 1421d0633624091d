"""Workers as they run in production: processes, each replaced when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator

import msgspec

from consumers.worker.processes import ProcessEvent
from tests.consumers.worker.harness import Bench

APP = "tests.consumers.worker.apps:pipeline"


class Running:
    """One `agentlog worker --json` and what it has said so far."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.events: list[ProcessEvent] = []
        self._listener = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.events.append(msgspec.json.decode(line, type=ProcessEvent))

    def of(self, kind: str) -> list[ProcessEvent]:
        return [event for event in self.events if event.event == kind]

    async def stop(self) -> int:
        """SIGTERM, then its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await self._listener
            return await self.process.wait()


@contextlib.asynccontextmanager
async def workers(bench: Bench, processes: int, app: str = APP) -> AsyncIterator[Running]:
    """`agentlog worker` with so many processes, stopped at the end."""
    code = "from consumers.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        code,
        "worker",
        "--app",
        app,
        "--processes",
        str(processes),
        "--json",
        stdout=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "AGENTLOG_BOOTSTRAP_SERVERS": bench.servers,
            "AGENTLOG_NAMESPACE": bench.namespace.name,
            "AGENTLOG_LOG_LEVEL": "warning",
        },
    )
    running = Running(process)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            await running.stop()
