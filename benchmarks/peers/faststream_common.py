"""FastStream's two Kafka flavours do the same here; only their broker differs.

The quickest that each allows while order is kept: nothing injected or validated between decoder and
handler, no log line per record (`as_it_comes` asks for both, which are the defaults), one worker,
positions committed by the client every 5 s and when it stops (which may lose records in a crash: it
promises less than the worker does).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from benchmarks.peers.job import Clock, answer, read_job
from benchmarks.wire import load_schemas, wire_reader


def work(broker_class: Any, *libraries: str) -> None:
    """Do the job on stdin with this flavour's broker."""
    asyncio.run(_work(broker_class, libraries))


async def _work(broker_class: Any, libraries: tuple[str, ...]) -> None:
    job = read_job()
    read = wire_reader(load_schemas(job.schemas_path))
    clock, done = Clock(job.records), asyncio.Event()

    async def decode(message: Any) -> Any:
        clock.begin()
        if job.batch:
            return [read(value) for value in message.body]
        return read(message.body)

    async def on_task(_task: Mapping[str, Any]) -> None:
        if clock.count():
            done.set()

    async def on_tasks(tasks: list[Mapping[str, Any]]) -> None:
        if clock.count(len(tasks)):
            done.set()

    quick = {} if job.as_it_comes else {"apply_types": False, "logger": None}
    broker = broker_class(job.bootstrap_servers, **quick)
    subscriber = broker.subscriber(
        job.topic,
        group_id=job.group,
        auto_offset_reset="earliest",
        batch=job.batch,
        decoder=decode,
    )
    subscriber(on_tasks if job.batch else on_task)
    await broker.start()
    await done.wait()
    await broker.stop()
    answer(clock.done("faststream", *libraries, "fastavro"))
