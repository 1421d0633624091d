"""What becomes of records on real Kafka: repeats, takeovers, dead letters, control, deliveries."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from consumers.app import App
from consumers.audit import audit, broker_marks
from consumers.context import Context
from consumers.retry import RetryPolicy
from streams import control
from streams.envelope import Kind
from streams.kafka.groups import GroupAdmin
from streams.kafka.publisher import Publisher
from streams.topics import EVENTS, INBOX, TASKS
from streams.topics.catalogue import dlq
from tests.consumers.worker.harness import ASSIGN, CODEC, Bench, assign_task, status, until

FAST = RetryPolicy(wait_ms=10, wait_ms_max=10)


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


def assert_clean(bench: Bench, group: str) -> None:
    """The audit has nothing to say, of the committed marks neither."""
    groups = GroupAdmin(bench.servers, bench.namespace)
    (found,) = audit(
        bench.reader,
        CODEC,
        bench.namespace,
        group=group,
        committed=broker_marks(groups, bench.reader, bench.namespace),
    )
    assert found.clean, found


async def test_after_a_takeover_only_what_was_not_finished_runs_again(bench: Bench) -> None:
    """The committed mark says what is finished beyond the position (section 7, positions)."""
    app = App("fleet", topics=(TASKS,), drain_s_max=0.1)
    ran: list[str] = []
    hang = True

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        name = payload["task"]["id"]
        ran.append(name)
        if name == "t0" and hang:
            await asyncio.sleep(1_000)
        await ctx.publish(status(name, name))

    # All on one partition: the first key holds the position back for all the others.
    topic = bench.namespace.topic(TASKS)
    with bench.raw_producer() as producer:
        for n in range(50):
            value = CODEC.encode(assign_task(n, f"key-{n}"))
            producer.produce(topic, value, f"key-{n}".encode(), partition=3)
    async with bench.working(app) as task:
        await until(lambda: len(bench.records(EVENTS)) == 49, "all others", task=task)
    assert sum(bench.positions("fleet").values()) == 0
    assert_clean(bench, "fleet")
    ran.clear()
    hang = False
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert ran == ["t0"]
    assert len(bench.records(EVENTS)) == 50
    assert_clean(bench, "fleet")


async def test_a_record_that_repeats_one_before_a_takeover_is_skipped(bench: Bench) -> None:
    """By id, key and redrive; the next owner knows what was there by reading back."""
    app = App("fleet", topics=(TASKS,))
    ran: list[str] = []

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, payload: Mapping[str, Any]) -> None:
        ran.append(payload["task"]["id"])

    bench.send([assign_task(1, "a"), assign_task(1, "a"), assign_task(1, "b"), assign_task(2, "a")])
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert sorted(ran) == ["t1", "t1", "t2"]
    bench.send([assign_task(2, "a"), assign_task(3, "a"), assign_task(1, "b")])
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert sorted(ran) == ["t1", "t1", "t2", "t3"]
    assert bench.journal_exceptions() == [("skipped", "duplicate")] * 3
    assert_clean(bench, "fleet")


async def test_s5_06_a_repair_handler_resubmits_and_only_the_failed_handler_runs_again(
    bench: Bench,
) -> None:
    """Another group reads the dead letters; the record goes back to the one that failed, alone."""
    app = App("fleet", topics=(TASKS,), retry=FAST)
    repair = App("repair", topics=(dlq(TASKS),))
    other = App("other", topics=(TASKS,))
    broken = True
    ran: list[str] = []

    @app.on(ASSIGN)
    async def on_good(ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append(f"good {ctx.envelope.retry_count}")
        await ctx.publish(status("good", "s"))

    @app.on(ASSIGN)
    async def on_bad(ctx: Context, _payload: Mapping[str, Any]) -> None:
        if broken:
            raise OSError("no disk")
        ran.append(f"bad {ctx.envelope.retry_count}")
        await ctx.publish(status("bad", "s"))

    @repair.on(ASSIGN)
    async def on_dead_letter(ctx: Context, _payload: Mapping[str, Any]) -> None:
        nonlocal broken
        assert ctx.dead_letter is not None
        assert ctx.dead_letter.handlers == ("on_bad",)
        broken = False
        await ctx.resubmit("the disk is back")

    @other.on(ASSIGN)
    async def on_other(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append("other")

    bench.send([assign_task(1, "k")])
    async with (
        bench.working(app) as task,
        bench.working(repair) as repairing,
        bench.working(other) as beside,
    ):
        await until(lambda: len(bench.records(TASKS)) == 2, "resubmitted", task=repairing)
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
        await until(lambda: bench.caught_up("other"), "committed there", task=beside)
        await until(lambda: bench.caught_up("repair", dlq(TASKS)), "repaired", task=repairing)
    assert sorted(ran) == ["bad 1", "good 0", "other"]
    original, redriven = bench.records(TASKS)
    assert (redriven.key, redriven.value) == (original.key, original.value)
    assert [one.payload["action"] for one in bench.envelopes(EVENTS) if "dlq" in one.type] == [
        "redriven"
    ]
    for group in ("fleet", "other", "repair"):
        assert_clean(bench, group)


async def test_at_least_once_handles_everything_and_its_books_say_so(bench: Bench) -> None:
    """Outputs and outcomes first, positions after; no transactions in between."""
    app = App("fleet", topics=(TASKS,), delivery="at_least_once")

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(status(payload["task"]["id"], "s"))

    bench.send([assign_task(n, f"key-{n % 5}") for n in range(200)])
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    # No marker follows the outputs: visible ends are record counts.
    events = bench.namespace.topic(EVENTS)
    assert sum(end for _, end in bench.reader.ends([events])) == 200
    groups = GroupAdmin(bench.servers, bench.namespace)
    (found,) = audit(
        bench.reader,
        CODEC,
        bench.namespace,
        group="fleet",
        committed=broker_marks(groups, bench.reader, bench.namespace),
    )
    assert (found.clean, found.delivery, found.outcomes) == (
        True,
        "at_least_once",
        {"handled": 200},
    )


async def test_a_cancel_interrupts_what_runs_and_keeps_what_waits_from_running(
    bench: Bench,
) -> None:
    """Both end as skipped, cancelled; what is behind them in their key goes on."""
    app = App("fleet", topics=(TASKS,))
    started = asyncio.Event()
    ran: list[str] = []

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, payload: Mapping[str, Any]) -> None:
        name = payload["task"]["id"]
        ran.append(name)
        if name == "t0":
            started.set()
            await asyncio.sleep(1_000)

    tasks = [assign_task(n, "k") for n in range(3)]
    bench.send(tasks)
    async with (
        bench.working(app) as task,
        Publisher(bench.servers, bench.namespace, CODEC, sender="boss") as publisher,
    ):
        async with asyncio.timeout(60):
            await started.wait()
        for one in (tasks[1], tasks[0]):
            await publisher.publish(control.cancel(one.id, "changed my mind"))
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert ran == ["t0", "t2"]
    assert bench.journal_exceptions() == [("skipped", "cancelled")] * 2
    assert_clean(bench, "fleet")


async def test_a_drain_ends_a_group_and_a_request_is_answered_between_handlers(
    bench: Bench,
) -> None:
    """`ctx.request` in one app, `ctx.respond` in another; then both are told to drain."""
    asking = App("asking", topics=(TASKS,))
    answering = App("answering", topics=(INBOX,))
    answers: list[Any] = []

    @asking.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        answer = await ctx.request("weather-1", {"city": "Basel"}, timeout_s=50)
        answers.append(answer.data)

    @answering.on("agentlog.Json")
    async def on_question(ctx: Context, _payload: Mapping[str, Any]) -> None:
        assert ctx.envelope.kind is Kind.REQUEST
        await ctx.respond({"celsius": 21})

    bench.send([assign_task(1, "k")])
    async with (
        bench.working(asking) as one,
        bench.working(answering) as other,
        Publisher(bench.servers, bench.namespace, CODEC, sender="boss") as publisher,
    ):
        await until(lambda: bench.caught_up("asking"), "answered", task=one)
        for group in ("asking", "answering"):
            await publisher.publish(control.drain(bench.namespace.group(group)))
        await asyncio.wait({one, other}, timeout=60)
        assert (one.done(), other.done()) == (True, True)
    assert answers == [{"celsius": 21}]
