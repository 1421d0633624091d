"""The rows of S5 that groups and workers deliver, on real Kafka: queues, crashes, order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from asyncio import Event
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from consumers.app import App
from consumers.audit import GroupAudit, audit, broker_marks
from consumers.context import Context
from consumers.worker.transactions import end_open_transaction
from streams.brokers.embedded import EmbeddedKafka
from streams.envelope import Kind
from streams.kafka.groups import GroupAdmin
from streams.kafka.publisher import Publisher
from streams.kafka.tail import tail
from streams.ranges import Span
from streams.record import Partition
from streams.topics import EVENTS, INBOX, TASKS
from tests.consumers.worker import dying
from tests.consumers.worker.harness import ASSIGN, CODEC, Bench, assign_task, status, until
from tests.consumers.worker.supervised import workers


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


def app_noting(name: str, into: list[str], topic: str = TASKS, **settings: Any) -> App:
    """An app that notes which tasks it ran, and publishes one status for each."""
    app = App(name, topics=(topic,), **settings)

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        into.append(payload["task"]["id"])
        await ctx.publish(dying.finished(payload))

    return app


def audited(bench: Bench, group: str) -> GroupAudit:
    """The group's books, the broker's marks included."""
    groups = GroupAdmin(bench.servers, bench.namespace)
    marks = broker_marks(groups, bench.reader, bench.namespace)
    (found,) = audit(bench.reader, CODEC, bench.namespace, group=group, committed=marks)
    return found


def statuses(bench: Bench) -> Counter[str]:
    """How often there is an output of each task."""
    return Counter(
        one.payload["current_tasks"][0] for one in bench.envelopes(EVENTS) if one.stream_id
    )


@contextmanager
def process_of(bench: Bench, app: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process of an app of `dying`; killed at the end if it has not died before."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "consumers.worker.process"),
            *("--app", f"tests.consumers.worker.dying:{app}", "--run-id", "dead"),
        ],
        env={
            **os.environ,
            "AGENTLOG_BOOTSTRAP_SERVERS": bench.servers,
            "AGENTLOG_NAMESPACE": bench.namespace.name,
            "AGENTLOG_LOG_LEVEL": "error",
            **environment,
        },
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def test_s5_03_exactly_one_of_a_pool_receives_and_every_other_group_as_well(
    bench: Bench,
) -> None:
    """Two workers of a group share the records; another group has them all to itself."""
    ran: dict[str, list[str]] = {"one": [], "two": [], "other": []}
    groups = GroupAdmin(bench.servers, bench.namespace)
    async with (
        bench.working(app_noting("pool", ran["one"])) as one,
        bench.working(app_noting("pool", ran["two"])) as two,
        bench.working(app_noting("other", ran["other"])) as other,
    ):

        def shared() -> bool:
            members = groups.members(bench.namespace.group("pool"))
            return [len(member.partitions) for member in members] == [4, 4]

        await until(shared, "each has half of the partitions", every_s=0.1)
        bench.send([assign_task(n, f"key-{n}") for n in range(200)])
        await until(lambda: bench.caught_up("pool"), "the pool is done", task=one)
        await until(lambda: bench.caught_up("other"), "the other is done", task=other)
        assert not two.done()
    everything = sorted(f"t{n}" for n in range(200))
    assert sorted(ran["one"] + ran["two"]) == everything
    assert min(len(ran["one"]), len(ran["two"])) > 20
    assert sorted(ran["other"]) == everything
    assert statuses(bench) == dict.fromkeys(everything, 2)


async def test_s5_04_an_agent_that_was_away_receives_all_of_it_later_and_in_order(
    bench: Bench,
) -> None:
    """What came before it was ever there, and what came between two of its lives."""
    ran: list[str] = []

    async def publish(first: int) -> None:
        async with Publisher(bench.servers, bench.namespace, CODEC, sender="boss") as publisher:
            for n in range(first, first + 10):
                task = assign_task(n, f"c{n}", kind=Kind.REQUEST, recipients=("agent-1",))
                await publisher.publish(task)

    for life in range(2):
        await publish(life * 10)
        assert len(ran) == life * 10
        async with bench.working(app_noting("agent", ran, INBOX)) as task:
            await until(lambda: bench.caught_up("agent", INBOX), "it has all", task=task)
    assert ran == [f"t{n}" for n in range(20)]
    assert statuses(bench) == dict.fromkeys(ran, 1)


@pytest.mark.timeout(300)
async def test_s5_04_a_broker_that_is_killed_loses_nothing_that_it_had_taken() -> None:
    """SIGKILL in the middle of the work; publisher and worker go on when it is back.

    The worker is a process of its own: a call into the client that never comes back from the outage
    ends it (H6), and another takes its place.
    """
    taken: list[str] = []
    enough = Event()
    with EmbeddedKafka() as own:
        bench = Bench(own.bootstrap_servers, "outage")
        node = own.nodes[0]

        async def publish(publisher: Publisher) -> None:
            n = 0
            while not enough.is_set():
                await publisher.publish(assign_task(n, f"key-{n % 7}"))
                taken.append(f"t{n}")
                n += 1

        async with (
            workers(bench, 1, "tests.consumers.worker.dying:exactly_once"),
            Publisher(
                bench.servers, bench.namespace, CODEC, sender="boss", delivery_timeout_ms=90_000
            ) as publisher,
        ):
            publishing = asyncio.create_task(publish(publisher))
            await until(lambda: len(statuses(bench)) > 50, "it works", every_s=0.1)
            os.kill(node.pid, signal.SIGKILL)
            await until(lambda: not node.is_alive, "the broker is gone")
            before = len(taken)
            await asyncio.to_thread(node.start)
            await until(lambda: len(taken) > before + 50, "it takes records again")
            enough.set()
            await publishing
            done = partial(bench.caught_up, "exactly-once")
            await until(done, "committed", every_s=0.2, deadline_s=120)
        assert statuses(bench) == dict.fromkeys(taken, 1)
        found = audited(bench, "exactly-once")
        assert (found.clean, found.outcomes["handled"]) == (True, len(taken)), found


@pytest.mark.timeout(240)
async def test_s5_05_what_an_agent_had_not_finished_when_it_was_killed_is_delivered_again(
    bench: Bench, tmp_path: Path
) -> None:
    """It is acknowledged when its handler has ended, and not before; a crash loses nothing."""
    begun = tmp_path / "begun"
    bench.send([assign_task(n, "k") for n in range(3)])
    with process_of(bench, "hanging", **{dying.BEGUN: str(begun)}) as process:
        await until(begun.exists, "it is in the middle of the first", every_s=0.1)
        process.kill()
    assert set(bench.positions("hanging").values()) <= {0}
    assert bench.records(EVENTS) == []
    ran: list[str] = []
    started, gate = Event(), Event()
    app = App("hanging", topics=(TASKS,))

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        started.set()
        await gate.wait()
        ran.append(payload["task"]["id"])
        await ctx.publish(dying.finished(payload))

    async with bench.working(app) as task:
        await until(started.is_set, "the first again", task=task)
        assert set(bench.positions("hanging").values()) <= {0}
        assert bench.records(EVENTS) == []
        gate.set()
        await until(lambda: bench.caught_up("hanging"), "acknowledged", task=task)
    assert ran == ["t0", "t1", "t2"]
    assert statuses(bench) == dict.fromkeys(ran, 1)
    assert audited(bench, "hanging").clean


async def test_s5_07_every_reader_of_a_partition_sees_the_order_in_which_it_was_published(
    bench: Bench,
) -> None:
    """A live tail all of it; workers that of each key, also in what they publish themselves."""
    keys = [f"key-{n}" for n in range(5)]
    sent: dict[Partition, list[str]] = defaultdict(list)
    orders: dict[str, dict[str, list[str]]] = {}
    async with Publisher(bench.servers, bench.namespace, CODEC, sender="boss") as publisher:
        tasks = [assign_task(n, keys[n % 5]) for n in range(300)]
        for published in await publisher.publish_many(tasks):
            sent[Partition(published.topic, published.partition)].append(published.id)

    def app(name: str) -> App:
        found: dict[str, list[str]] = defaultdict(list)
        orders[name] = found
        made = App(name, topics=(TASKS,))

        @made.on(ASSIGN)
        async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
            key = ctx.envelope.correlation_id or ""
            await asyncio.sleep(int(payload["task"]["description"]) % 3 / 1000)
            found[key].append(ctx.envelope.id)
            await ctx.publish(status(ctx.envelope.id, key))

        return made

    for name in ("one", "other"):
        async with bench.working(app(name)) as task:
            await until(lambda name=name: bench.caught_up(name), "committed", task=task)  # type: ignore[misc]
    ends = bench.reader.ends([bench.namespace.topic(TASKS)])
    seen: dict[Partition, list[str]] = defaultdict(list)
    spans = {source: Span(0, end) for source, end in ends}
    async for sighting in tail(bench.servers, CODEC, spans):
        assert sighting.envelope is not None
        seen[sighting.record.source].append(sighting.envelope.id)
    assert seen == sent
    by_key = {key: [task.id for task in tasks if task.correlation_id == key] for key in keys}
    assert orders == {"one": by_key, "other": by_key}
    outputs: dict[str, list[str]] = defaultdict(list)
    for envelope in bench.envelopes(EVENTS):
        outputs[envelope.stream_id or ""].append(envelope.payload["current_tasks"][0])
    assert {key: Counter(ids) for key, ids in outputs.items()} == {
        key: dict.fromkeys(ids, 2) for key, ids in by_key.items()
    }
    # The groups worked one after the other: each repeats the order of the key.
    assert outputs == {key: ids * 2 for key, ids in by_key.items()}


@pytest.mark.timeout(240)
async def test_s5_07_at_least_once_may_repeat_what_exactly_once_does_not(bench: Bench) -> None:
    """Both groups' processes are killed between their outputs and their positions."""
    bench.send([assign_task(n, f"key-{n}") for n in range(10)])
    with (
        process_of(bench, "at_least_once", DYING_OF_POSITIONS="1") as one,
        process_of(bench, "exactly_once", DYING_OF_POSITIONS="1") as other,
    ):
        await until(lambda: None not in (one.poll(), other.poll()), "both died", every_s=0.1)
        assert (one.returncode, other.returncode) == (-signal.SIGKILL, -signal.SIGKILL)
    # As its supervisor does; until then nobody sees what is on the log behind that transaction.
    dead = bench.namespace.transactional_id("exactly-once", "dead")
    await asyncio.to_thread(end_open_transaction, bench.servers, dead)
    assert set(statuses(bench).values()) == {1}  # those of the one without transactions
    async with (
        bench.working(app_noting("at-least-once", [], delivery="at_least_once")) as first,
        bench.working(app_noting("exactly-once", [])) as second,
    ):
        await until(lambda: bench.caught_up("at-least-once"), "at least once", task=first)
        await until(lambda: bench.caught_up("exactly-once"), "exactly once", task=second)
    least, exactly = audited(bench, "at-least-once"), audited(bench, "exactly-once")
    assert (least.clean, least.delivery, least.lost) == (True, "at_least_once", 0)
    assert least.repeated > 0
    assert least.outputs == 10 + least.repeated
    assert (exactly.clean, exactly.delivery, exactly.outputs) == (True, "exactly_once", 10)
    assert (exactly.lost, exactly.duplicated, exactly.repeated) == (0, 0, 0)
