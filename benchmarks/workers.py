"""Our worker as a contender: an app with one handler for everything, timed from its first record.

"Ended" is when the worker has drained, committed and left its group.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal
from uuid import uuid4

from benchmarks.wire import REPORT, SAID
from consumers.app import App
from consumers.context import Context
from consumers.worker import Worker
from consumers.worker.collector import seldom_collecting
from consumers.worker.ports import Committed, Transaction, Transactions
from consumers.worker.source import KafkaSource
from streams.envelope import Envelope
from streams.schemas import Codec
from streams.topics import CONTROL, EVENTS, JOURNAL, SCHEMAS, TASKS, Namespace

Delivery = Literal["exactly_once", "at_least_once"]
OnTask = Callable[[Context, Mapping[str, Any]], Awaitable[None]]

WORKER_TOPICS: Final = (TASKS, EVENTS, JOURNAL, SCHEMAS, CONTROL)
"""What a worker that reads tasks and publishes events needs."""


class Handling:
    """Runs a worker on `tasks` until it has handled so many records; each run is a new group."""

    def __init__(
        self, bootstrap_servers: str, namespace: Namespace, codec: Codec, records: int
    ) -> None:
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._codec = codec
        self._records = records

    def run(self, *, output: bool, delivery: Delivery = "exactly_once") -> float:
        """Records per second with a handler that does nothing, or publishes one envelope."""
        return asyncio.run(self._run(output=output, delivery=delivery))

    async def _run(self, *, output: bool, delivery: Delivery) -> float:
        app = App(f"worker-{uuid4().hex}", topics=(TASKS,), delivery=delivery)
        stop = asyncio.Event()
        handled, began_s = 0, 0.0

        @app.on()
        async def on_any(ctx: Context, _payload: Mapping[str, Any]) -> None:
            nonlocal handled, began_s
            if not handled:
                began_s = time.perf_counter()
            handled += 1
            if output:
                await report(ctx)
            if handled == self._records:
                stop.set()

        await run_worker(Worker(app, self._servers, self._namespace, self._codec), stop)
        return self._records / (time.perf_counter() - began_s)


async def run_worker(worker: Worker, stop: asyncio.Event) -> None:
    """Run it until `stop`, as a worker's process does."""
    with seldom_collecting(worker.app.in_flight_max):
        await worker.run(stop)


async def report(ctx: Context) -> None:
    """The one output of every handler that has one."""
    await ctx.publish(Envelope(type=REPORT, payload=SAID))


class TimedWorker(Worker):
    """A worker that knows when it last committed something that was handled."""

    committed_at_s = 0.0
    """By `time.perf_counter`."""

    def _transactions(self, source: KafkaSource) -> Transactions:
        return _Timed(super()._transactions(source), self)


class _Timed:
    """Another's transactions, and when the last of them ended."""

    def __init__(self, inner: Transactions, worker: TimedWorker) -> None:
        self._inner = inner
        self._worker = worker

    async def commit(self, transaction: Transaction) -> Committed:
        committed = await self._inner.commit(transaction)
        # Without outputs, the journal's among them, positions only passed markers.
        if committed is Committed.YES and transaction.outputs:
            self._worker.committed_at_s = time.perf_counter()
        return committed

    async def close(self) -> None:
        await self._inner.close()
