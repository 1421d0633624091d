"""The composition of one worker on the log in memory: all that `Worker` is, but for Kafka."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from consumers.app import App, LogAccess
from consumers.journal import Delivery, Output
from consumers.outbox import RECORD_BYTES_MAX, Outbox
from consumers.window import Window
from consumers.worker.core import Core
from consumers.worker.loop import WorkerLoop
from consumers.worker.memory.control import MemoryControl
from consumers.worker.memory.deliveries import MemoryDeliveries
from consumers.worker.memory.pace import Call, Pace, at_once
from consumers.worker.memory.sending import MemorySending, memory_client
from consumers.worker.memory.source import MemorySource
from consumers.worker.memory.transactions import MemoryTransactions
from consumers.worker.ports import Committed, Transaction, Transactions
from consumers.worker.worker import REVOKE_MARGIN_S, gates_of
from streams.memory import MemoryLog, MemoryLogReader, MemoryPublisher
from streams.schemas import Codec
from streams.topics import Namespace


class MemoryWorker:
    """One member of an app's group on a `MemoryLog`. It can be made to crash.

    `seed` decides the jitter of retries; `pace` is awaited before every call on the log.
    """

    def __init__(
        self,
        app: App,
        log: MemoryLog,
        namespace: Namespace,
        codec: Codec,
        *,
        run_id: str,
        seed: int = 0,
        pace: Pace = at_once,
        record_bytes_max: int = RECORD_BYTES_MAX,
    ) -> None:
        access = LogAccess(
            open=lambda: MemoryLogReader(log),
            codec=codec,
            namespace=namespace,
            clock=log.clock,
            run=self._read,
            write=self._write_apart,
        )
        self.app = app = app.for_worker(access)
        self.run_id = run_id
        self.group = namespace.group(app.name)
        self._log = log
        self._inner_pace = pace
        self._crashed = False
        self._running: asyncio.Task[None] | None = None
        self._sending = MemorySending(
            MemoryPublisher(
                log, namespace, codec, sender=app.name, record_bytes_max=record_bytes_max
            ),
            lambda: memory_client(
                log, namespace, codec, sender=app.name, instance=run_id, seed=seed
            ),
            self._require_alive,
        )
        self._outbox = outbox = Outbox(
            codec,
            namespace,
            log.clock,
            app_name=app.name,
            writer=run_id,
            record_bytes_max=record_bytes_max,
            at_once=self._sending,
        )
        window = Window(app.in_flight_max, app.in_flight_bytes_max)
        self._core = Core(
            app.running_max,
            window.release,
            gates=gates_of(app),
            dedup_window=app.dedup_window,
            in_flight_max=app.in_flight_max,
        )
        self.source = MemorySource(
            log,
            self.group,
            [namespace.topic(topic) for topic in app.topics],
            window,
            revoke_s_max=app.drain_s_max + REVOKE_MARGIN_S,
            read_back=app.dedup_window,
            pace=self._pace,
        )
        self.transactional_id = namespace.transactional_id(app.name, run_id)
        self._loop = WorkerLoop(
            app,
            self._core,
            self.source,
            self._transactions(),
            outbox,
            group=self.group,
            run_id=run_id,
            rng=random.Random(seed),
        )
        self._control = MemoryControl(
            log, namespace, codec, self._loop, group=self.group, run_id=run_id
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain, commit and leave. A crashed one is cancelled."""
        self._running = asyncio.current_task()
        try:
            await self._control.start()
            await self._loop.run(stop)
        finally:
            await self._control.stop()
            await self._sending.close()

    def crash(self) -> None:
        """Die as a killed process does, between two calls on the log: none follows.

        Handlers are interrupted, an open transaction stays open, the group is not told.
        """
        self._crashed = True
        self.source.crash()
        self._loop.on_lost([assignment.source for assignment in self._core.assignments])
        if self._running is not None:
            self._running.cancel()

    async def _pace(self, call: Call) -> None:
        self._require_alive()
        await self._inner_pace(call)
        self._require_alive()

    async def _write_apart(self, outputs: Sequence[Output], types: Sequence[str]) -> bool:
        """`LogAccess.write`."""
        apart = MemoryTransactions(self._log, f"{self.transactional_id}-apart", pace=self._pace)
        schemas = [self._outbox.schema_record(name) for name in types]
        committed = await apart.commit(Transaction([*schemas, *outputs], []))
        return committed is Committed.YES

    async def _read(self, call: Callable[[], Any]) -> Any:
        await self._pace(Call.READ)
        return call()

    def _require_alive(self) -> None:
        if self._crashed:  # nothing catches it, as nothing catches SIGKILL
            raise asyncio.CancelledError

    def _transactions(self) -> Transactions:
        if Delivery(self.app.delivery) is Delivery.AT_LEAST_ONCE:
            return MemoryDeliveries(self._log, self.source, pace=self._pace)
        return MemoryTransactions(self._log, self.transactional_id, pace=self._pace)
