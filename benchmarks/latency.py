"""latency: from publish to the output that a read-committed consumer sees, at a steady rate.

A process of its own runs the worker, or a bare aiokafka loop that passes each record on as it is.
This process publishes at the offered rate, whether outputs come or not, and reads the output topic.
Each input has a key of its own, which its output has too; both moments are this process's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from benchmarks.elsewhere import closed, elsewhere
from benchmarks.figures import Figure, Results, at_most
from benchmarks.history import history
from benchmarks.rounds import Contender, Turns, others_in, take_turns
from benchmarks.stage import Stage, open_codec
from benchmarks.watcher import Watcher, quantile
from benchmarks.workers import WORKER_TOPICS, Delivery, report, run_worker
from consumers.app import App
from consumers.context import Context
from consumers.worker import Worker
from streams.kafka.publisher import Publisher
from streams.topics import EVENTS, TASKS, Namespace

RATE_PER_S: Final = 1_000
BAR_P50_MS: Final = 25.0
BAR_P99_MS: Final = 60.0
BAR_BARE: Final = 1.5


class Latency(NamedTuple):
    """One run."""

    p50_ms: float
    p99_ms: float

    def __str__(self) -> str:
        return f"p50 {self.p50_ms:.1f} ms, p99 {self.p99_ms:.1f} ms"


def bench(stage: Stage) -> Results:
    """The worker exactly once and at least once, and the bare loop."""
    records = stage.size(12_000, 2_000)
    turns = take_turns(
        stage,
        [
            Contender("worker, exactly once", lambda: _run(stage, records, "exactly_once")),
            Contender("worker, at least once", lambda: _run(stage, records, "at_least_once")),
            Contender("aiokafka loop", lambda: _run(stage, records, None)),
        ],
        stage.size(3, 1),
        warm_up=not stage.quick,
    )
    exactly, at_least, bare = turns
    return Results(
        bench="latency",
        workload=f"{RATE_PER_S:,} records/s offered, 8 partitions, one output each, "
        f"{records:,} records a run, the first {RATE_PER_S:,} not counted. Publish → handler → "
        "output at a read-committed consumer.",
        figures=[
            _figure("exactly once, p50", exactly, "p50_ms", BAR_P50_MS),
            _figure("exactly once, p99", exactly, "p99_ms", BAR_P99_MS),
            _figure("at least once, p50", at_least, "p50_ms"),
            _figure("at least once, p99", at_least, "p99_ms"),
            _figure("bare aiokafka consume → produce, p50", bare, "p50_ms"),
            _figure("bare aiokafka consume → produce, p99", bare, "p99_ms"),
            Figure(
                meaning="p99 at least once over the bare loop's",
                rounds=[
                    ours.p99_ms / theirs.p99_ms
                    for ours, theirs in zip(at_least.found, bare.found, strict=True)
                ],
                bar=at_most(BAR_BARE),
            ),
        ],
        others=others_in(turns),
    )


def _figure(meaning: str, turns: Turns[Latency], name: str, bar: float | None = None) -> Figure:
    return Figure(
        meaning=meaning,
        rounds=[getattr(found, name) for found in turns.found],
        unit="ms",
        bar=None if bar is None else at_most(bar),
    )


# --- this process: publishes and watches ---------------------------------------------------------


def _run(stage: Stage, records: int, delivery: Delivery | None) -> Latency:
    """`None` is the bare loop."""
    with stage.namespaces(WORKER_TOPICS) as [namespace]:
        serve = _serve_loop if delivery is None else serve_worker
        with elsewhere(serve, stage.bootstrap_servers, namespace.name, delivery):
            return asyncio.run(_measure(stage.bootstrap_servers, namespace, records))


async def _measure(bootstrap_servers: str, namespace: Namespace, records: int) -> Latency:
    envelopes = history(records)
    async with (
        Publisher(bootstrap_servers, namespace, open_codec()) as publisher,
        Watcher(bootstrap_servers, namespace.topic(EVENTS)) as watcher,
    ):
        await watcher.until_served(publisher, envelopes[0])
        began_s, sending = time.perf_counter(), set[asyncio.Task[None]]()
        for n, envelope in enumerate(envelopes):
            ahead_s = began_s + n / RATE_PER_S - time.perf_counter()
            if ahead_s > 0:
                await asyncio.sleep(ahead_s)
            task = asyncio.create_task(watcher.publish(publisher, envelope, f"input-{n}"))
            sending.add(task)
            task.add_done_callback(sending.discard)
        await watcher.until_all_seen()
    counted = sorted(watcher.latency_ms(f"input-{n}") for n in range(RATE_PER_S, records))
    return Latency(quantile(counted, 0.5), quantile(counted, 0.99))


# --- the other process: the contender ------------------------------------------------------------


def serve_worker(
    pipe: Connection, bootstrap_servers: str, namespace: str, delivery: Delivery
) -> None:
    """A worker that reports on every task until the pipe is closed."""

    async def serve() -> None:
        app = App(f"serving-{uuid4().hex}", topics=(TASKS,), delivery=delivery)

        @app.on()
        async def on_any(ctx: Context, _payload: Mapping[str, Any]) -> None:
            await report(ctx)

        worker = Worker(app, bootstrap_servers, Namespace(namespace), open_codec())
        await run_worker(worker, closed(pipe))

    asyncio.run(serve())


def _serve_loop(
    pipe: Connection, bootstrap_servers: str, namespace: str, _delivery: Delivery | None
) -> None:
    """Consume and produce, nothing else: no decoding, no handler, positions every 5 s."""

    async def serve() -> None:
        consumer = AIOKafkaConsumer(
            Namespace(namespace).topic(TASKS),
            bootstrap_servers=bootstrap_servers,
            group_id=uuid4().hex,
            auto_offset_reset="earliest",
        )
        producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all")
        await consumer.start()
        await producer.start()
        target = Namespace(namespace).topic(EVENTS)
        passing_on = asyncio.create_task(_pass_on(consumer, producer, target))
        ending = asyncio.create_task(closed(pipe).wait())
        await asyncio.wait({passing_on, ending}, return_when=asyncio.FIRST_COMPLETED)
        if passing_on.done():
            passing_on.result()  # it ended of itself, so it raised
        passing_on.cancel()
        await producer.stop()
        await consumer.stop()

    asyncio.run(serve())


async def _pass_on(consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, target: str) -> None:
    async for record in consumer:
        await producer.send(target, record.value, record.key, headers=list(record.headers))
