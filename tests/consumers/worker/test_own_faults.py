"""What faults of our own, and what comes at the wrong moment, must not cost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.app import App
from consumers.context import Context
from consumers.journal import Ending, Outcome, PartitionCommit, Settled, journal_envelopes
from consumers.marks import Mark
from consumers.outbox import RECORD_BYTES_MAX, Outbox
from consumers.worker.assignment import Delivery
from consumers.worker.endings import Endings
from consumers.worker.ports import Assigned, Committed, Transaction
from streams.dead_letters import dead_letter_headers
from streams.envelope import Kind
from streams.errors import BrokerError, NonRetriable
from streams.headers import REDRIVE, REDRIVE_FOR
from streams.ports import SystemClock
from streams.record import Partition, Record
from streams.topics import Namespace
from tests.consumers.worker.harness import ASSIGN, CODEC, assign_task, status, until
from tests.consumers.worker.rig import FAST, SOURCE, Rig, record, rigged

CLOCK = SystemClock()


def publishing(**settings: Any) -> tuple[App, list[int]]:
    """An app that publishes one status for each task, and notes the positions it ran on."""
    app = App("fleet", topics=("tasks",), commit_linger_ms=0, retry=FAST, **settings)
    ran: list[int] = []

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append(ctx.record.position)
        await ctx.publish(status(str(ctx.record.position), "s"))

    return app, ran


async def test_a_commit_that_raises_passes_nothing_as_finished() -> None:
    """Its records were taken out of the tracker; they must not count when the worker drains."""
    app, ran = publishing()
    rig = Rig(app)
    await asyncio.sleep(0)
    rig.assign()
    await until(lambda: len(rig.transactions.made) == 1, "opened")
    commit = rig.transactions.commit

    async def raises_once(transaction: Transaction) -> Committed:
        rig.transactions.commit = commit  # type: ignore[method-assign]
        raise BrokerError("no transactions as ns.fleet")

    rig.transactions.commit = raises_once  # type: ignore[method-assign]
    rig.deliver(record(0, assign_task(0, "k")))
    async with asyncio.timeout(30):
        with pytest.raises(BrokerError, match="no transactions"):
            await rig.task
    assert ran == [0]
    assert rig.mark.position == 0
    assert rig.records("journal") == []


async def test_what_the_source_tells_and_we_cannot_take_in_ends_the_worker_uncommitted() -> None:
    """A position that comes twice is a fault of ours: nothing after it may pass as finished."""
    app, _ = publishing()
    rig = Rig(app)
    await asyncio.sleep(0)
    rig.assign()
    await until(lambda: len(rig.transactions.made) == 1, "opened")
    with pytest.raises(ValueError, match="arrived after"):
        rig.deliver(record(1, assign_task(1, "k")), record(0, assign_task(0, "k")))
    rig.loop.on_source_failed(ValueError("position 0 arrived after 1"))
    async with asyncio.timeout(30):
        with pytest.raises(BrokerError, match="arrived after"):
            await rig.task
    assert rig.mark.position == 0


async def test_a_partition_that_comes_while_the_worker_shuts_down_is_not_begun() -> None:
    """Its mark stays as its last owner left it, and no handler starts."""
    app, ran = publishing(drain_s_max=0.2)
    hang = asyncio.Event()

    @app.on(ASSIGN)
    async def on_hang(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        await hang.wait()

    rig = Rig(app)
    await asyncio.sleep(0)
    rig.assign()
    rig.deliver(record(0, assign_task(0, "k")))
    await until(lambda: ran == [0], "running")
    rig.stop.set()
    await until(lambda: all(one.stopping for one in rig.core.assignments), "stopping")
    other = Partition("ns.tasks", 1)
    rig.loop.on_assigned([Assigned(2, other, 0, "", "m")])
    rig.deliver(Record("ns.tasks", 1, 0, 1_000, b"k", CODEC.encode(assign_task(1, "k"))), token=2)
    async with asyncio.timeout(30):
        await rig.task
    assert ran == [0]
    assert all(other not in marks for made in rig.transactions.made for _, marks in made.positions)


async def test_a_cancel_between_attempts_keeps_what_others_had_done_well() -> None:
    """The handler that ended well is not undone by the one that is interrupted."""
    app, ran = publishing()
    tries: list[int] = []

    @app.on(ASSIGN, name="bad")
    async def on_bad(ctx: Context, _payload: Mapping[str, Any]) -> None:
        tries.append(ctx.attempt)
        if ctx.attempt == 1:
            raise OSError("no disk")
        await asyncio.sleep(1_000)

    async with rigged(app) as rig:
        task = assign_task(0, "k")
        rig.deliver(record(0, task))
        await until(lambda: tries == [1, 2], "the second attempt")
        rig.loop.on_cancel(task.id, "enough")
        await until(lambda: rig.committed() == 1, "committed")
        assert rig.outcomes() == {task.id: "skipped: cancelled"}
        assert len(rig.records("events")) == 1
    assert ran == [0]


class Unheard(BaseException):
    """What no handler may raise."""


@pytest.mark.parametrize("who", ["a handler", "we"])
async def test_a_runner_that_fails_holds_up_no_drain(
    monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """The worker ends at once with what ended it, and its record runs again elsewhere."""
    app = App("fleet", topics=("tasks",), commit_linger_ms=0, drain_s_max=60)

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        await asyncio.sleep(0)
        if ctx.record.position == 1 and who == "a handler":
            raise Unheard

    if who == "we":
        handled = Endings.handled

        def raises(self: Endings, delivery: Delivery, *rest: Any) -> Any:
            if delivery.record.position == 1:
                raise Unheard
            return handled(self, delivery, *rest)

        monkeypatch.setattr(Endings, "handled", raises)
    rig = Rig(app)
    await asyncio.sleep(0)
    rig.assign()
    rig.deliver(*(record(n, assign_task(n, f"k{n}"), key=b"%d" % n) for n in range(3)))
    async with asyncio.timeout(30):  # half of what a drain may take
        with pytest.raises(Unheard):
            await rig.task
    assert rig.mark == Mark(1, ((2, 3),), clean=True)
    assert (rig.core.lanes.running, rig.loop.stubborn) == (0, 0)


def dead(
    position: int, group: str, at: int, *headers: tuple[str, bytes], ttl_ms: int = 0
) -> Record:
    """The dead letter of one task, of one group."""
    task = assign_task(0, "k", ttl_ms=ttl_ms, created_at=1_000_000)
    original = record(at, task, *headers)
    letter = dead_letter_headers(
        original,
        group=group,
        handlers=("on_assign_task",),
        attempts=5,
        error_name="OSError",
        error_message="no disk",
        stack="",
        failed_at_ms=1,
        context={},
    )
    return Record("ns.tasks", 0, position, 1_000, original.key, original.value, tuple(letter))


async def test_s5_06_a_repair_handler_sees_every_dead_letter() -> None:
    """Of two groups, of a redrive that failed again, cancelled, and long expired."""
    app, ran = publishing()
    async with rigged(app) as rig:
        rig.loop.on_cancel(assign_task(0, "k").id, "enough")
        rig.deliver(
            dead(0, "ns.one", 7),
            dead(1, "ns.other", 7),
            dead(2, "ns.one", 9, (REDRIVE, b"1"), (REDRIVE_FOR, b"ns.one")),
            dead(3, "ns.third", 11, ttl_ms=1),
            dead(4, "ns.one", 7),
        )
        await until(lambda: rig.committed() == 5, "committed")
        assert list(rig.outcomes().values()) == ["skipped: duplicate"]
    assert ran == [0, 1, 2, 3]


@given(st.text(min_size=1, max_size=3), st.integers(1, 1_300))
def test_a_journal_record_is_never_too_large(letters: str, count: int) -> None:
    """Whatever errors say, and however many records failed in one commit."""
    outbox = Outbox(CODEC, Namespace("ns"), CLOCK, app_name="fleet", record_bytes_max=1_000)
    detail = letters * 1_000
    ending = Ending(Outcome.DEAD_LETTERED, "E" * 1_000, detail)
    settled = [Settled(n * 2, 1_000, 1, ending, f"msg-1700000000000-{n:09d}") for n in range(count)]
    commit = PartitionCommit(SOURCE, 0, count * 2, settled)
    told = 0
    for envelope in journal_envelopes("ns.fleet", commit, writer="run", now_us=1):
        (output,) = outbox.journal(envelope.with_(kind=Kind.EVENT))
        assert len(output.value or b"") < RECORD_BYTES_MAX
        told += len(CODEC.decode(output.value, output.headers).payload["exceptions"])
    assert told == count


async def test_a_burst_of_failures_during_a_slow_commit_is_told_whole() -> None:
    """More than one journal record holds, each named, none lost."""
    app = App("fleet", topics=("tasks",), commit_linger_ms=0)

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        raise NonRetriable("é" * 2_000)

    async with rigged(app) as rig:
        await until(lambda: len(rig.transactions.made) == 1, "opened")
        rig.transactions.may_go_on.clear()
        tasks = [assign_task(n, f"k{n}") for n in range(1_201)]
        rig.deliver(*(record(n, task, key=b"%d" % n) for n, task in enumerate(tasks)))
        await until(lambda: rig.core.assignments[0].tracker.unfinished == 0, "all failed")
        rig.transactions.may_go_on.set()
        await until(lambda: rig.committed() == 1_201, "committed")
        assert len(rig.records("tasks.dlq")) == len(rig.outcomes()) == 1_201
