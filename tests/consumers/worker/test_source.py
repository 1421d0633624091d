"""The Kafka source: what its contract does not ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from consumers.app import App
from consumers.context import Context
from streams.record import Partition
from streams.topics import TASKS
from tests.consumers.worker.harness import ASSIGN, CODEC, Bench, assign_task, until


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


async def test_what_retention_removed_before_it_was_read_is_said(bench: Bench) -> None:
    """Which positions of which partition, and how many of them had not been finished; once."""
    app = App("fleet", topics=(TASKS,), drain_s_max=0.1)
    ran: list[str] = []

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, payload: Mapping[str, Any]) -> None:
        if payload["task"]["id"] in {"t1", "t2"} and len(ran) < 3:
            raise OSError("not now")
        ran.append(payload["task"]["id"])

    topic = bench.namespace.topic(TASKS)

    def append(start: int, stop: int) -> None:
        with bench.raw_producer() as producer:
            for n in range(start, stop):
                value = CODEC.encode(assign_task(n, f"k{n}"))
                producer.produce(topic, value, f"k{n}".encode(), partition=3)

    append(0, 4)
    source = Partition(topic, 3)
    async with bench.working(app) as task:
        await until(lambda: finished_beyond(bench, source), "t3", task=task)
    mark = bench.marks("fleet")[source]
    assert (mark.position, mark.finished) == (1, ((3, 4),))
    append(4, 10)
    remove_below(bench.servers, source, 7)
    with capture_logs() as logs:
        async with bench.working(app) as task:
            await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert [one for one in logs if one["event"] == "positions_removed"] == [
        {
            "event": "positions_removed",
            "log_level": "warning",
            "topic": topic,
            "partition": 3,
            "from": 1,
            "to": 7,
            "count": 5,
        }
    ]
    assert ran == ["t0", "t3", "t7", "t8", "t9"]


def finished_beyond(bench: Bench, source: Partition) -> bool:
    """Whether something is committed beyond the position."""
    mark = bench.marks("fleet").get(source)
    return mark is not None and mark.position > 0 and mark.finished != ()


def remove_below(servers: str, source: Partition, position: int) -> None:
    """As retention does."""
    admin = AdminClient({"bootstrap.servers": servers})
    for future in admin.delete_records([TopicPartition(*source, position)]).values():
        future.result()
