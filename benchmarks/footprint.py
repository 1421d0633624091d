"""footprint: what a handled record leaves on the log, besides itself.

Sizes of the log's segments before and after, as kafka-log-dirs says them: outputs, the journal,
committed positions with their marks, the state of transactions, each with its transaction markers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Final

from benchmarks.elsewhere import elsewhere
from benchmarks.figures import Figure, Results
from benchmarks.fill import fill
from benchmarks.history import history
from benchmarks.latency import serve_worker
from benchmarks.logsizes import log_sizes
from benchmarks.stage import Stage, open_codec
from benchmarks.watcher import Watcher
from benchmarks.workers import WORKER_TOPICS, Delivery, Handling
from streams.kafka.publisher import Publisher
from streams.topics import EVENTS, JOURNAL, TASKS, Namespace

POSITIONS: Final = "__consumer_offsets"
TRANSACTIONS: Final = "__transaction_state"

Footprint = Mapping[str, float]
"""Bytes per input record, by what they are."""


def bench(stage: Stage) -> Results:
    """One record at a time, and as many at once as there are."""
    alone, many = stage.size(200, 20), stage.size(30_000, 2_000)
    found = {
        f"{delivery.replace('_', ' ')}, {load}": run(stage, delivery, records)
        for delivery in ("exactly_once", "at_least_once")
        for load, run, records in (("one at a time", _idle, alone), ("full load", _full, many))
    }
    return Results(
        bench="footprint",
        workload=f"{alone} records, each published when the output of the one before it was seen; "
        f"and {many:,} that are there before the worker starts. One output each. Bytes on the log "
        "per input record, markers included.",
        figures=[
            Figure(meaning=f"{how}: {what}", rounds=[size], unit="bytes")
            for how, sizes in found.items()
            for what, size in sizes.items()
            if size
        ],
    )


def _idle(stage: Stage, delivery: Delivery, records: int) -> Footprint:
    with stage.namespaces(WORKER_TOPICS) as [namespace]:
        with elsewhere(serve_worker, stage.bootstrap_servers, namespace.name, delivery):
            before, after = asyncio.run(_one_by_one(stage.bootstrap_servers, namespace, records))
        return _per_record(namespace, before, after, records)


async def _one_by_one(
    bootstrap_servers: str, namespace: Namespace, records: int
) -> tuple[Counter[str], Counter[str]]:
    envelopes = history(records)
    async with (
        Publisher(bootstrap_servers, namespace, open_codec()) as publisher,
        Watcher(bootstrap_servers, namespace.topic(EVENTS)) as watcher,
    ):
        await watcher.until_served(publisher, envelopes[0])
        before = await asyncio.to_thread(log_sizes, bootstrap_servers)
        for n, envelope in enumerate(envelopes):
            await watcher.publish(publisher, envelope, f"input-{n}")
            await watcher.until_all_seen()
        return before, await asyncio.to_thread(log_sizes, bootstrap_servers)


def _full(stage: Stage, delivery: Delivery, records: int) -> Footprint:
    codec, servers = open_codec(), stage.bootstrap_servers
    with stage.namespaces(WORKER_TOPICS) as [namespace]:
        fill(servers, namespace.topic(TASKS), codec, history(records), records)
        before = log_sizes(servers)
        Handling(servers, namespace, codec, records).run(output=True, delivery=delivery)
        return _per_record(namespace, before, log_sizes(servers), records)


def _per_record(
    namespace: Namespace, before: Counter[str], after: Counter[str], records: int
) -> Footprint:
    def grown(topic: str) -> float:
        return (after[topic] - before[topic]) / records

    sizes = {
        "outputs": grown(namespace.topic(EVENTS)),
        "journal": grown(namespace.topic(JOURNAL)),
        "positions": grown(POSITIONS),
        "transactions": grown(TRANSACTIONS),
    }
    return {"all": sum(sizes.values()), **sizes}
