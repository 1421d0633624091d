"""cancels: how soon a handler that runs is interrupted, while the worker has plenty to do.

Another process publishes the cancels, as `agentlog cancel` does. The worker is busy with a backlog
of ordinary records; among them it starts handlers that would wait for ever. One of those after the
other is cancelled. Both moments are of one clock: `time.perf_counter` is the same in all processes
of a machine (CLOCK_MONOTONIC).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from benchmarks.elsewhere import elsewhere
from benchmarks.figures import Figure, Results, below
from benchmarks.fill import fill
from benchmarks.history import history
from benchmarks.rounds import Contender, others_in, take_turns
from benchmarks.stage import Stage, open_codec
from benchmarks.watcher import quantile
from benchmarks.workers import WORKER_TOPICS, run_worker
from consumers.app import App
from consumers.context import Context
from consumers.worker import Worker
from streams.control import OPERATOR, cancel
from streams.kafka.publisher import Publisher
from streams.topics import TASKS, Namespace

BAR_P99_MS: Final = 20.0
VICTIMS_AT_ONCE: Final = 10
"""Handlers that wait for their cancel; each holds one of the worker's `running_max` places."""
PAUSE_S: Final = 0.02
"""Between two cancels."""
WORK_S: Final = 0.002
"""What an ordinary handler waits for."""
INTERRUPTED_S_MAX: Final = 30.0


class Cancels(NamedTuple):
    """One run."""

    delays_ms: list[float]
    """From publish to interruption, in order of size."""
    backlog: int
    """Records that nobody had handled when the last was interrupted."""

    @property
    def p99_ms(self) -> float:
        """The bar's."""
        return quantile(self.delays_ms, 0.99)

    @property
    def p50_ms(self) -> float:
        """The median."""
        return quantile(self.delays_ms, 0.5)

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms, backlog {self.backlog:,}"


def bench(stage: Stage) -> Results:
    """Two hundred cancels, in each of the rounds."""
    codec = open_codec()
    cancels, records = stage.size(200, 20), stage.size(250_000, 20_000)
    backlog = stage.size(100_000, 1_000)
    with stage.namespaces(WORKER_TOPICS) as [namespace]:
        fill(
            stage.bootstrap_servers,
            namespace.topic(TASKS),
            codec,
            history(5_758),
            records,
            fresh_ids=True,
        )
        run = _Run(stage.bootstrap_servers, namespace, cancels, records)
        [turns] = take_turns(
            stage, [Contender("worker", run.run)], stage.size(3, 1), warm_up=not stage.quick
        )
    least = min(found.backlog for found in turns.found)
    if least < backlog:
        raise AssertionError(f"the backlog fell to {least:,}; it was to stay above {backlog:,}")
    return Results(
        bench="cancels",
        workload=f"{cancels} cancels of running handlers, one every {PAUSE_S * 1000:.0f} ms, while "
        f"the worker works off a backlog of {records:,} records (never fewer than {least:,} left), "
        f"each waiting {WORK_S * 1000:.0f} ms. From publish in another process to the "
        "interruption.",
        figures=[
            Figure(
                meaning="publish to interruption, p99",
                rounds=[found.p99_ms for found in turns.found],
                unit="ms",
                bar=below(BAR_P99_MS),
            ),
            Figure(
                meaning="publish to interruption, p50",
                rounds=[found.p50_ms for found in turns.found],
                unit="ms",
            ),
            Figure(
                meaning="publish to interruption, slowest",
                rounds=[found.delays_ms[-1] for found in turns.found],
                unit="ms",
            ),
        ],
        others=others_in([turns]),
    )


class _Run:
    """A worker, a new group each time, and somebody who cancels."""

    def __init__(
        self, bootstrap_servers: str, namespace: Namespace, cancels: int, records: int
    ) -> None:
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._cancels = cancels
        self._records = records
        self._number = 0

    def run(self) -> Cancels:
        self._number += 1
        with elsewhere(_publish_cancels, self._servers, self._namespace.name) as publisher:
            if publisher.pipe.recv() != "ready":
                raise AssertionError("the publisher of cancels did not start")
            return asyncio.run(self._run(publisher.pipe))

    async def _run(self, pipe: Connection) -> Cancels:
        # What an earlier run cancelled is still known to be, and skipped: victims are always new.
        app = App(f"cancels-{self._number}", topics=(TASKS,), drain_s_max=1.0)
        stop, all_interrupted = asyncio.Event(), asyncio.Event()
        waiting: asyncio.Queue[str] = asyncio.Queue(VICTIMS_AT_ONCE)
        interrupted_s: dict[str, float] = {}
        handled, started = 0, 0

        @app.on()
        async def on_any(ctx: Context, _payload: Mapping[str, Any]) -> None:
            nonlocal handled, started
            handled += 1
            at_once = started - len(interrupted_s)
            if started == self._cancels or at_once >= VICTIMS_AT_ONCE:
                await asyncio.sleep(WORK_S)
                return
            started += 1
            waiting.put_nowait(ctx.envelope.id)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                interrupted_s[ctx.envelope.id] = time.perf_counter()
                if len(interrupted_s) == self._cancels:
                    all_interrupted.set()
                raise

        worker = asyncio.create_task(
            run_worker(Worker(app, self._servers, self._namespace, open_codec()), stop)
        )
        for _ in range(self._cancels):
            pipe.send(await waiting.get())
            await asyncio.sleep(PAUSE_S)
        async with asyncio.timeout(INTERRUPTED_S_MAX):
            await all_interrupted.wait()
        backlog = self._records - handled
        stop.set()
        await worker
        published_s = dict(pipe.recv() for _ in range(self._cancels))
        delays_ms = [(at_s - published_s[name]) * 1000 for name, at_s in interrupted_s.items()]
        return Cancels(sorted(delays_ms), backlog)


# --- the other process ---------------------------------------------------------------------------


def _publish_cancels(pipe: Connection, bootstrap_servers: str, namespace: str) -> None:
    """Publish a cancel for each id that the pipe brings, and say when."""

    async def serve() -> None:
        async with Publisher(
            bootstrap_servers, Namespace(namespace), open_codec(), sender=OPERATOR
        ) as publisher:
            await publisher.publish(cancel("msg-0000000000000-000000000", "warms the way"))
            pipe.send("ready")
            loop = asyncio.get_running_loop()
            while (message_id := await loop.run_in_executor(None, _received, pipe)) is not None:
                at_s = time.perf_counter()
                await publisher.publish(cancel(message_id, "bench"))
                pipe.send((message_id, at_s))

    asyncio.run(serve())


def _received(pipe: Connection) -> str | None:
    try:
        return str(pipe.recv())
    except EOFError:
        return None
