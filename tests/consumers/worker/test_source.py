"""The Kafka source: what its contract does not ask for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from structlog.testing import capture_logs

from consumers.app import App
from consumers.context import Context
from consumers.marks import Mark
from consumers.window import CLIENT_QUEUE_BYTES, Window
from consumers.worker import source as source_module
from consumers.worker.ports import Committed, Transaction
from consumers.worker.source import PATIENCE_S
from streams.record import Partition, Record
from streams.topics import TASKS
from tests.consumers.worker.harness import ASSIGN, CODEC, Bench, assign_task, until
from tests.contracts.members import DEADLINE_S, KafkaBench, Member, join


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


async def test_what_was_taken_before_a_partition_came_back_is_read_again(
    kafka: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebalance within `consume`: part of the batch is the old assignment's, part the new one's.

    Handed over under the old token all of it would be dropped, and the consumer is past it.
    """
    bench = KafkaBench(kafka, namespace)
    source = Partition(bench.topic, 0)
    returns: list[list[TopicPartition]] = []

    class Rebalancing(Consumer):
        def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Any]:
            if returns:
                return super().consume(num_messages, timeout)
            returns.append(self.assignment())
            kafka_source._on_revoke(self, returns[0])
            kafka_source._on_assign(self, returns[0])
            return super().consume(2, 30)

    monkeypatch.setattr(source_module, "Consumer", Rebalancing)
    bench.append(source, *(b"%d" % n for n in range(10)))
    member = join(bench)
    kafka_source: Any = member.source
    try:
        await until(lambda: bool(returns) and source in member.assigned, "it came back")
        await until(lambda: len(member.of(source)) == 10, "all of it")
        assert [one.position for one in member.of(source)] == list(range(10))
        current = member.assigned[source].token
        assert {token for token, found in member.records.items() if found} == {current}
    finally:
        await member.stop()
        bench.close()


async def test_h13_a_committed_position_is_read_when_no_commit_is_under_way(
    kafka: str, namespace: str
) -> None:
    """A partition may come back to the member that lost it while that still commits.

    The coordinator takes that commit, so a position that was read before would be an old one.
    """
    bench = KafkaBench(kafka, namespace)
    source = Partition(bench.topic, 0)
    bench.append(source, *(b"%d" % n for n in range(10)))
    window = Window(10_000, 2 * CLIENT_QUEUE_BYTES)
    kafka_source: Any = bench.make_source(
        bench.group, [bench.topic], window, revoke_s_max=DEADLINE_S
    )
    member = Member(kafka_source, window)
    member.is_at_rest = False
    metadata: list[Any] = []
    wait = kafka_source._at_rest

    def noting() -> bool:
        """On the consumer's thread, as the metadata of an assignment is taken."""
        metadata.append(kafka_source._consumer.consumer_group_metadata())
        return bool(wait())

    kafka_source._at_rest = noting
    kafka_source.start(member)
    await until(lambda: bool(member.assigning), "partitions are coming")
    transactions = bench.transactions("late")
    late = Transaction([], [(metadata[0], {source: Mark(7)})])
    assert await transactions.commit(late) is Committed.YES
    assert member.assigned == {}
    member.assigning[0]()
    await member.owns(4)
    assert member.assigned[source].position == 7
    await member.stop()
    await transactions.close()
    bench.close()


async def test_an_event_loop_that_was_held_up_is_not_flooded(
    kafka: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backlog is there and the loop blocks: no more is handed over than it will soon take in."""
    monkeypatch.setattr(source_module, "BATCH_MAX", 10)
    bench = KafkaBench(kafka, namespace)
    source = Partition(bench.topic, 0)
    bench.append(source, *(b"%d" % n for n in range(500)))
    member = join(bench)
    loop = asyncio.get_running_loop()
    at_once: list[int] = []
    take_in = member.on_records

    def held_up(batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        if not member.records:
            time.sleep(PATIENCE_S / 2)  # a handler that blocks, no longer than is waited for
            loop.call_soon(lambda: at_once.append(len(member.of(source))))
        take_in(batches)

    monkeypatch.setattr(member, "on_records", held_up)
    try:
        await until(lambda: len(member.records.get(1, ())) == 500, "all of it")
        assert at_once[0] <= 30  # the batch that held it up, and the two behind it
    finally:
        await member.stop()
        bench.close()
