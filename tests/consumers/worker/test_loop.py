"""The event loop's side over a source and transactions in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextvars import ContextVar
from itertools import pairwise
from typing import Any

import pytest

from consumers.app import App
from consumers.context import EFFECTS_MAX, Context
from consumers.marks import Mark
from consumers.retry import RetryPolicy
from consumers.worker import loop as loop_module
from consumers.worker import runners
from consumers.worker.handling import HandlerTimedOut
from consumers.worker.ports import Committed
from streams.dead_letters import DeadLetter
from streams.envelope import Envelope, Kind
from streams.errors import AgentlogError, BrokerError, ConfigurationError, NonRetriable
from streams.headers import REDRIVE, REDRIVE_FOR, REDRIVE_HANDLERS, REPLAY_OF
from streams.record import Record
from streams.schemas import Codec
from tests.consumers.worker.harness import ASSIGN, CODEC, assign_task, status, until
from tests.consumers.worker.rig import FAST, SOURCE, Rig, SetClock, record, rigged

NOW_US = 1_800_000_000_000_000


def fleet(**settings: Any) -> App:
    return App("fleet", topics=("tasks",), commit_linger_ms=0, **{"retry": FAST, **settings})


def noting() -> tuple[App, list[int]]:
    """An app that notes the positions it ran on."""
    app, ran = fleet(), list[int]()

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append(ctx.record.position)

    return app, ran


class Hanging:
    """An app whose handler hangs until it is told to go on; it notes what it was told."""

    def __init__(self, **settings: Any) -> None:
        self.app = fleet(**settings)
        self.started: list[int] = []
        self.ended: list[int] = []
        self.interrupted: list[int] = []
        self.go_on = asyncio.Event()
        self.swallow = False

        @self.app.on(ASSIGN)
        async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
            self.started.append(ctx.record.position)
            await ctx.publish(status(str(ctx.record.position), "s"))
            try:
                await self.go_on.wait()
            except asyncio.CancelledError:
                self.interrupted.append(ctx.record.position)
                if not self.swallow:
                    raise
                await self.go_on.wait()
            self.ended.append(ctx.record.position)


# --- assignments and commits ---------------------------------------------------------------------


async def test_h11_nothing_runs_before_the_opening_has_committed() -> None:
    """A mark alone is committed first, without a journal record."""
    app, ran = noting()
    async with rigged(app) as rig:
        rig.transactions.may_go_on.clear()
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: rig.transactions.asked == 1, "asked for the opening")
        await asyncio.sleep(0.01)
        assert ran == []
        rig.transactions.may_go_on.set()
        await until(lambda: rig.committed() == 1, "committed")
        assert rig.transactions.made[0].outputs == []
        assert rig.transactions.made[0].positions == [("m", {SOURCE: Mark(0, clean=False)})]
    assert ran == [0]
    assert rig.mark == Mark(1, clean=True)
    assert rig.count == 0


async def test_h11_a_partition_that_is_revoked_while_it_is_opened_is_left_in_order() -> None:
    """Its next owner must not count a death: the opening is on the log, so is its end."""
    app, _ = noting()
    async with rigged(app) as rig:
        rig.transactions.may_go_on.clear()
        await until(lambda: rig.transactions.asked == 1, "the opening is under way")
        done = asyncio.Event()
        rig.loop.on_revoking([SOURCE], done.set)
        await asyncio.sleep(0.01)
        rig.transactions.may_go_on.set()
        async with asyncio.timeout(10):
            await done.wait()
        assert rig.mark == Mark(0, clean=True)
        rig.loop.on_lost([SOURCE])


async def test_a_handler_that_is_interrupted_before_its_first_step_frees_its_key() -> None:
    """Partition lost and got back within one step of the loop: the record runs, once."""
    app, ran = noting()
    async with rigged(app) as rig:
        rig.deliver(record(0, assign_task(0, "k")))
        rig.loop.on_lost([SOURCE])
        rig.assign(2)
        rig.deliver(record(0, assign_task(0, "k")), token=2)
        await until(lambda: rig.committed() == 1, "committed")
    assert ran == [0]
    assert rig.count == 0


async def test_a_record_whose_partition_is_lost_before_its_first_step_does_not_run() -> None:
    """It was taken, and its runner not begun: nobody could interrupt it any more.

    Found by the simulation (seed 244).
    """
    app, ran = noting()
    async with rigged(app) as rig:
        await until(lambda: bool(rig.transactions.made), "open")
        rig.deliver(record(0, assign_task(0, "k")))
        asyncio.get_running_loop().call_soon(rig.loop.on_lost, [SOURCE])
        await until(lambda: rig.count == 0, "given up")
        await asyncio.sleep(0.01)
    assert ran == []


async def test_h04_an_aborted_commit_is_made_again_without_running_anything_twice() -> None:
    """The same outputs and positions go into the next transaction."""
    app, ran = noting()
    async with rigged(app) as rig:
        rig.transactions.answers = [Committed.NO, Committed.YES, Committed.NO, Committed.NO]
        rig.deliver(*(record(n, assign_task(n, "k")) for n in range(3)))
        await until(lambda: rig.committed() == 3, "committed")
    assert (ran, rig.count) == ([0, 1, 2], 0)


async def test_h07_an_unknown_outcome_reloads_the_partitions() -> None:
    """Nothing of before is committed under the old assignment."""
    app, ran = noting()
    async with rigged(app) as rig:
        rig.transactions.answers = [Committed.YES, Committed.UNKNOWN]
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: rig.source.reloads == [[SOURCE]], "reloaded")
        rig.deliver(record(1, assign_task(1, "k")))
        made = len(rig.transactions.made)
        rig.assign(2)
        rig.deliver(record(0, assign_task(0, "k")), token=2)
        await until(lambda: len(rig.transactions.made) > made + 1, "committed")
    assert ran == [0, 0]
    assert (rig.committed(), rig.count) == (1, 0)


async def test_a_revocation_waits_for_what_runs_and_its_commit() -> None:
    """`done` is called after the commit, not before."""
    hanging = Hanging()
    async with rigged(hanging.app) as rig:
        rig.deliver(*(record(n, assign_task(n, "k")) for n in range(2)))
        await until(lambda: hanging.started == [0], "running")
        marks: list[Mark] = []
        rig.loop.on_revoking([SOURCE], lambda: marks.append(rig.mark))
        await asyncio.sleep(0.02)
        assert marks == []
        hanging.go_on.set()
        await until(lambda: bool(marks), "let go")
        assert marks == [Mark(1, clean=True)]
        rig.loop.on_lost([SOURCE])
    assert rig.count == 0


@pytest.mark.parametrize("error", [BrokerError("the schemas topic is away"), RuntimeError("odd")])
async def test_a_record_whose_schema_cannot_be_asked_for_stops_the_worker(error: Exception) -> None:
    """It is not skipped, and its partition does not wait for ever in silence."""

    class Away:
        """A schema source that cannot answer."""

        def writer_schema(self, _schema_id: int) -> str | None:
            raise error

    app, ran = noting()
    rig = Rig(app, codec=Codec(CODEC.catalogue, [Away()]))
    await asyncio.sleep(0)
    rig.assign()
    unknown = Record(*SOURCE, 1, 1_000, b"k", b"\0\0\0\0\7body")
    rig.deliver(record(0, assign_task(0, "k")), unknown)
    async with asyncio.timeout(10):
        with pytest.raises(AgentlogError, match=str(error)):
            await rig.task
    assert (ran, rig.mark) == ([0], Mark(1, clean=True))
    assert rig.core.lanes.running == 0


async def test_h10_a_full_mark_holds_its_partition_until_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The source is told to read no further, and told to go on again."""
    monkeypatch.setattr("consumers.marks._RUNS_BYTES_MAX", 4)
    app, go_on = fleet(), asyncio.Event()

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        if ctx.record.position % 2 == 0:
            await go_on.wait()

    async with rigged(app) as rig:
        rig.core._in_flight_max = 20
        envelopes = [assign_task(n, "k") for n in range(20)]
        rig.deliver(*(record(n, one, key=b"%d" % n) for n, one in enumerate(envelopes)))
        await until(lambda: rig.source.holds == [frozenset({SOURCE})], "held")
        go_on.set()
        await until(lambda: rig.committed() == 20, "committed")
        assert rig.source.holds[-1] == frozenset()
    assert rig.count == 0


# --- cancellation --------------------------------------------------------------------------------


async def test_a_running_record_that_is_cancelled_is_skipped_and_its_outputs_dropped() -> None:
    """Its key goes on; a cancel that comes twice interrupts once, and nobody else."""
    hanging = Hanging()
    async with rigged(hanging.app) as rig:
        first, second = assign_task(0, "k"), assign_task(1, "k")
        rig.deliver(record(0, first), record(1, second))
        await until(lambda: hanging.started == [0], "running")
        rig.loop.on_cancel(first.id, "too late")
        rig.loop.on_cancel(first.id, "really")
        await until(lambda: hanging.started == [0, 1], "the next of the key")
        rig.loop.on_cancel(first.id, "really")
        hanging.go_on.set()
        await until(lambda: rig.committed() == 2, "committed")
        assert rig.outcomes() == {first.id: "skipped: cancelled"}
        assert [one.payload["current_tasks"] for one in rig.envelopes("events")] == [["1"]]
    assert (hanging.interrupted, hanging.ended) == ([0], [1])


async def test_a_waiting_record_that_is_cancelled_never_runs() -> None:
    """Nor one whose cancel came before it."""
    hanging = Hanging()
    async with rigged(hanging.app) as rig:
        tasks = [assign_task(n, "k") for n in range(3)]
        rig.loop.on_cancel(tasks[2].id, "")
        rig.deliver(*(record(n, task) for n, task in enumerate(tasks)))
        await until(lambda: hanging.started == [0], "running")
        rig.loop.on_cancel(tasks[1].id, "not needed")
        hanging.go_on.set()
        await until(lambda: rig.committed() == 3, "committed")
        assert rig.outcomes() == dict.fromkeys([tasks[1].id, tasks[2].id], "skipped: cancelled")
    assert hanging.started == [0]


async def test_a_parked_record_that_is_cancelled_does_not_run_again() -> None:
    """It waits for another attempt, which finds that nobody wants it."""
    app, ran = fleet(retry=RetryPolicy(wait_ms=50, wait_ms_max=50)), list[int]()

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append(ctx.record.position)
        raise OSError("no disk")

    async with rigged(app) as rig:
        task = assign_task(0, "k")
        rig.deliver(record(0, task))
        await until(lambda: rig.core.lanes.parked == 1, "parked")
        assert rig.loop.status().retrying == 1
        rig.loop.on_cancel(task.id, "enough")
        await until(lambda: rig.committed() == 1, "committed")
        assert rig.outcomes() == {task.id: "skipped: cancelled"}
        assert rig.records("tasks.dlq") == []
    assert ran == [0]


async def test_a_handler_that_ignores_its_cancellation_has_ended_as_it_ended() -> None:
    """What it published counts, and the runner goes on as if nothing had been."""
    hanging = Hanging()
    hanging.swallow = True
    async with rigged(hanging.app) as rig:
        tasks = [assign_task(n, "k") for n in range(3)]
        rig.deliver(*(record(n, task) for n, task in enumerate(tasks)))
        await until(lambda: hanging.started == [0], "running")
        rig.loop.on_cancel(tasks[0].id, "no")
        await until(lambda: hanging.interrupted == [0], "interrupted")
        hanging.go_on.set()
        await until(lambda: rig.committed() == 3, "committed")
        assert len(rig.envelopes("events")) == 3
    assert hanging.ended == [0, 1, 2]


async def test_a_handler_of_a_lost_partition_is_interrupted_and_leaves_nothing() -> None:
    """Its record is another's: no outcome, no outputs, no dead letter."""
    hanging = Hanging()
    async with rigged(hanging.app) as rig:
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: hanging.started == [0], "running")
        rig.loop.on_lost([SOURCE])
        await until(lambda: hanging.interrupted == [0], "interrupted")
        await until(lambda: rig.core.lanes.running == 0, "ended")
    assert rig.envelopes("events") == rig.envelopes("journal") == []
    assert rig.count == 0


async def test_a_handler_that_outlives_the_drain_is_left_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker ends all the same, and says how many go on; nothing of them is committed."""
    monkeypatch.setattr(loop_module, "LATE_S_MAX", 0.05)
    hanging = Hanging(drain_s_max=0.05)
    hanging.swallow = True
    rig = Rig(hanging.app)
    await asyncio.sleep(0)
    rig.assign()
    rig.deliver(record(0, assign_task(0, "k")))
    await until(lambda: hanging.started == [0], "running")
    async with asyncio.timeout(10):
        await rig.end()
    assert (rig.loop.stubborn, rig.mark) == (1, Mark(0, clean=True))
    hanging.go_on.set()
    await until(lambda: hanging.ended == [0], "ended at last")


async def test_nothing_of_one_record_is_seen_by_the_next() -> None:
    """A handler that leaves a context variable behind leaves it behind alone."""
    app, seen = fleet(running_max=1), list[str]()
    variable: ContextVar[str] = ContextVar("left_behind", default="clean")

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        seen.append(variable.get())
        variable.set(f"left by {ctx.record.position}")

    async with rigged(app) as rig:
        tasks = [assign_task(n, "k") for n in range(4)]
        rig.deliver(*(record(n, task, key=b"%d" % n) for n, task in enumerate(tasks)))
        await until(lambda: rig.committed() == 4, "committed")
    assert seen == ["clean"] * 4


# --- failures ------------------------------------------------------------------------------------


async def test_a_handler_that_takes_too_long_has_failed() -> None:
    """It is interrupted at its next await, and tried again."""
    app, failures = fleet(), list[Any]()

    @app.on(ASSIGN, timeout_s=0.02)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        failures.append(ctx.last_failure)
        await ctx.publish(status(str(ctx.attempt), "s"))
        if ctx.attempt == 1:
            await asyncio.sleep(60)

    async with rigged(app) as rig:
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: rig.committed() == 1, "committed")
        assert [one.payload["current_tasks"] for one in rig.envelopes("events")] == [["2"]]
    assert isinstance(failures[1].error, HandlerTimedOut)
    assert str(failures[1].error) == "on_assign_task took longer than 0.02 s"


async def test_a_timeout_of_the_handlers_own_is_its_own() -> None:
    """Something that it awaited took too long; that is another error."""
    app, names = fleet(), list[str]()

    @app.on(ASSIGN, timeout_s=30)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        if ctx.last_failure is not None:
            names.append(ctx.last_failure.name)
            return
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    async with rigged(app) as rig:
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: rig.committed() == 1, "committed")
    assert names == ["TimeoutError"]


async def test_s3_19_one_failing_handler_never_reruns_the_others() -> None:
    """Their outputs wait, and are in the one commit in order of registration."""
    app, ran = fleet(), list[str]()

    @app.on(ASSIGN, name="first")
    async def first(ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append(f"first {ctx.attempt}")
        await ctx.publish(status("first", "s"))

    @app.on(ASSIGN, name="second")
    async def second(ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append(f"second {ctx.attempt}")
        await ctx.publish(status(f"second {ctx.attempt}", "s"))
        if ctx.attempt < 3:
            raise OSError("no disk")

    @app.on(name="third")
    async def third(ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append(f"third {ctx.attempt}")
        await ctx.publish(status("third", "s"))

    async with rigged(app) as rig:
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: rig.committed() == 1, "committed")
        texts = [one.payload["current_tasks"][0] for one in rig.envelopes("events")]
        assert texts == ["first", "second 3", "third"]
        assert rig.outcomes() == {}
    assert ran == ["first 1", "second 1", "third 1", "second 2", "second 3"]


async def test_s3_11_a_dead_letter_names_who_failed_and_the_error_that_was_final() -> None:
    """What the others published counts."""
    app = fleet()

    @app.on(ASSIGN, name="well")
    async def well(ctx: Context, _payload: Mapping[str, Any]) -> None:
        await ctx.publish(status("well", "s"))

    @app.on(ASSIGN, name="passing")
    async def passing(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        raise OSError("no disk")

    @app.on(ASSIGN, name="final")
    async def final(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        raise NonRetriable("never")

    async with rigged(app) as rig:
        task = assign_task(0, "k")
        rig.deliver(sent := record(0, task))
        await until(lambda: rig.committed() == 1, "committed")
        assert rig.outcomes() == {task.id: "dead_lettered: NonRetriable"}
        assert len(rig.envelopes("events")) == 1
        (dead,) = rig.records("tasks.dlq")
    assert (dead.key, dead.value) == (sent.key, sent.value)
    letter = DeadLetter.from_record(dead)
    assert set(letter.handlers) == {"passing", "final"}
    assert (letter.error_name, letter.error_message, letter.attempts) == (
        "NonRetriable",
        "never",
        1,
    )


class Wordless(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Wordless(), "<Wordless, which has no words: ValueError>"),
        (NonRetriable("half a character: \ud800"), "half a character: ?"),
        (NonRetriable("x" * 2_000_000), "x" * 2_000),
    ],
    ids=["wordless", "surrogate", "long"],
)
async def test_an_error_that_cannot_be_written_down_does_not_end_the_worker(
    error: Exception, said: str
) -> None:
    """Anything may be in it: journal, dead letter and answer get what there is of text."""
    app = fleet(retry=RetryPolicy(attempts_max=1))

    @app.on()
    async def on_any(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        raise error

    asked = assign_task(0, "k", kind=Kind.REQUEST, reply_to="me-1", type="agentlog.Json").with_(
        payload={"json": "{}"}
    )
    async with rigged(app) as rig:
        rig.deliver(record(0, asked))
        await until(lambda: rig.committed() == 1, "committed")
        (dead,) = rig.records("tasks.dlq")
        (answer,) = rig.envelopes("replies")
    assert DeadLetter.from_record(dead).error_message == said
    assert answer.payload["error"]["message"].startswith(said[:100])


async def test_s3_12_a_request_that_failed_for_good_is_answered_with_an_error() -> None:
    """Whoever asked need not wait for its timeout; others are not told."""
    app = fleet(retry=RetryPolicy(attempts_max=2, wait_ms=1, wait_ms_max=1))

    @app.on()
    async def on_any(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        raise OSError("no disk")

    task = assign_task(0, "k", type="agentlog.Json", payload={"json": "{}"})
    asked = task.with_(kind=Kind.REQUEST, reply_to="me-1", recipients=("helper",))
    async with rigged(app) as rig:
        rig.deliver(record(0, task), record(1, asked, key=b"o"))
        await until(lambda: rig.committed() == 2, "committed")
        assert len(rig.records("tasks.dlq")) == 2
        (answer,) = rig.envelopes("replies")
    assert (answer.sender, answer.recipients, answer.reply_to) == ("helper", ("boss",), "me-1")
    assert (answer.correlation_id, answer.payload["request_id"]) == ("k", asked.id)
    assert answer.payload["success"] is False
    assert answer.payload["error"] == {"name": "OSError", "message": "no disk"}


# --- what the sender is told ---------------------------------------------------------------------


async def test_s3_09_whoever_asked_for_it_is_told_after_success() -> None:
    """A notification to the sender, in the same transaction; none for what did not succeed."""
    app = fleet(retry=RetryPolicy(attempts_max=1))

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, payload: Mapping[str, Any]) -> None:
        if payload["task"]["id"] == "t1":
            raise OSError("no disk")

    clock = SetClock(NOW_US)
    tasks = [assign_task(n, "k", requires_ack=True, created_at=NOW_US) for n in range(2)]
    expired = assign_task(2, "k", requires_ack=True, ttl_ms=1, created_at=NOW_US - 10_000)
    quiet = assign_task(3, "k", created_at=NOW_US)
    async with rigged(app, clock=clock) as rig:
        rig.deliver(*(record(n, one) for n, one in enumerate([*tasks, expired, quiet])))
        await until(lambda: rig.committed() == 4, "committed")
        (told,) = rig.envelopes("inbox")
        (out,) = rig.records("inbox")
    assert (told.kind, told.type) == (Kind.NOTIFICATION, "agentlog.message.Acknowledged")
    assert (told.recipients, told.correlation_id, out.key) == (("boss",), tasks[0].id, b"boss")
    assert told.payload["original_message_id"] == tasks[0].id


async def test_a_sender_that_cannot_be_told_does_not_hold_up_the_record() -> None:
    """Its name alone is larger than a record may be: it is handled, and nobody is told."""
    app, ran = noting()
    async with rigged(app) as rig:
        rig.deliver(record(0, assign_task(0, "k", requires_ack=True, sender="b" * 600_000)))
        await until(lambda: rig.committed() == 1, "committed")
        assert (rig.envelopes("inbox"), rig.outcomes()) == ([], {})
    assert ran == [0]


async def test_s3_08_what_is_expired_is_not_handled_nor_tried_again() -> None:
    """Its time is looked at before each attempt."""
    app, ran, clock = fleet(), list[int](), SetClock(NOW_US)

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append(ctx.record.position)
        clock.now += 2_000_000
        raise OSError("no disk")

    early = assign_task(0, "k", ttl_ms=1_000, created_at=NOW_US)
    late = assign_task(1, "k", ttl_ms=1_000, created_at=NOW_US - 1_500_000)
    async with rigged(app, clock=clock) as rig:
        rig.deliver(record(0, early), record(1, late))
        await until(lambda: rig.committed() == 2, "committed")
        assert rig.outcomes() == dict.fromkeys([early.id, late.id], "expired: time_to_live")
        assert rig.records("tasks.dlq") == []
    assert ran == [0]


# --- redrives, replays, repetitions --------------------------------------------------------------


async def test_s5_06_a_redrive_runs_only_what_had_failed_and_only_in_its_group() -> None:
    """Other groups skip it; what repeats is skipped, a replay too."""
    app, ran = fleet(), list[tuple[str, int, int]]()

    for name in ("first", "second"):

        @app.on(ASSIGN, name=name)
        async def handler(ctx: Context, _payload: Mapping[str, Any]) -> None:
            ran.append((ctx.handler, ctx.record.position, ctx.envelope.retry_count))

    task, other = assign_task(0, "k"), assign_task(1, "k")
    redrive = (REDRIVE, b"1")
    ours, theirs = (REDRIVE_FOR, b"ns.fleet"), (REDRIVE_FOR, b"ns.other")
    failed = (REDRIVE_HANDLERS, b'["second"]')
    async with rigged(app) as rig:
        rig.deliver(
            record(0, task),
            record(1, task, redrive, theirs, failed),
            record(2, task, redrive, ours, failed),
            record(3, task, redrive, ours, failed),
            record(4, other, (REPLAY_OF, other.id.encode())),
        )
        await until(lambda: rig.committed() == 5, "committed")
        reasons = [
            one["reason"]
            for envelope in rig.envelopes("journal")
            for one in envelope.payload["exceptions"]
        ]
        assert reasons == ["redrive", "duplicate", "replay"]
    assert ran == [("first", 0, 0), ("second", 0, 0), ("second", 2, 1)]


# --- effects, and what is sent at once -----------------------------------------------------------


async def test_an_effect_runs_once_for_all_attempts_and_is_recorded_once() -> None:
    """A later attempt gets what it returned, under the same key; each handler has its own."""
    app, keys, results = fleet(), list[str](), list[Any]()

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        async def charge(key: str) -> Any:
            keys.append(key)
            return {"charged": [1, 2.5, None, "ü"]}

        results.append(await ctx.effect("charge", charge))
        results.append(await ctx.effect("plain", keys.append))
        if ctx.attempt < 3:
            raise OSError("no disk")

    async with rigged(app) as rig:
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: rig.committed() == 1, "committed")
        recorded = [one.payload for one in rig.envelopes("events")]
    assert len(keys) == 2
    assert results == [{"charged": [1, 2.5, None, "ü"]}, None] * 3
    assert [(one["idempotency_key"], one["name"], one["result"]) for one in recorded] == [
        (keys[0], "charge", '{"charged": [1, 2.5, null, "ü"]}'),
        (keys[1], "plain", "null"),
    ]
    assert (recorded[0]["topic"], recorded[0]["position"]) == ("ns.tasks", 0)


async def test_an_effect_is_recorded_whatever_becomes_of_its_record() -> None:
    """Dead-lettered after attempts with different effects, or cancelled: what was done was done."""
    app, gone = fleet(), assign_task(1, "other")

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        await ctx.effect(f"charge {ctx.attempt}", lambda _key: 1)
        await ctx.publish(status("never", "s"))
        if ctx.envelope.id == gone.id:
            await asyncio.sleep(3600)
        raise OSError("no disk") if ctx.attempt < 2 else NonRetriable("never")

    async with rigged(app) as rig:
        task = assign_task(0, "k")
        rig.deliver(record(0, task), record(1, gone))
        await until(lambda: rig.committed() == 1, "the dead letter is committed")
        rig.loop.on_cancel(gone.id, "enough")
        await until(lambda: rig.committed() == 2, "both are committed")
        recorded = rig.envelopes("events")
        assert rig.outcomes() == {
            task.id: "dead_lettered: NonRetriable",
            gone.id: "skipped: cancelled",
        }
    said = [(one.causation_id, one.payload["name"], one.payload["position"]) for one in recorded]
    assert said == [(task.id, "charge 1", 0), (task.id, "charge 2", 0), (gone.id, "charge 1", 1)]
    assert len({one.id for one in recorded}) == 3


async def test_the_effects_of_a_record_are_bounded() -> None:
    """Those that ran are recorded all the same."""
    app, keys = fleet(), list[str]()

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        for n in range(EFFECTS_MAX + 1):
            await ctx.effect(str(n), keys.append)

    async with rigged(app) as rig:
        task = assign_task(0, "k")
        rig.deliver(record(0, task))
        await until(lambda: rig.committed() == 1, "committed")
        assert rig.outcomes() == {task.id: "dead_lettered: NonRetriable"}
        assert len(rig.envelopes("events")) == len(keys) == EFFECTS_MAX


@pytest.mark.parametrize("result", ["x" * 64 * 1024, object(), float("nan"), "\ud800"])
async def test_an_effect_that_cannot_be_recorded_is_never_tried_again(result: Any) -> None:
    """Another attempt would have it once more, and end no better."""
    app, runs = fleet(), list[str]()

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        def do(key: str) -> Any:
            runs.append(key)
            return result

        await ctx.effect("charge", do)

    async with rigged(app) as rig:
        task = assign_task(0, "k")
        rig.deliver(record(0, task))
        await until(lambda: rig.committed() == 1, "committed")
        assert rig.outcomes() == {task.id: "dead_lettered: NonRetriable"}
        assert rig.envelopes("events") == []
    assert len(runs) == 1


async def test_a_worker_without_a_publisher_of_its_own_refuses_to_send_at_once() -> None:
    """The sentence is the handler's to see."""
    app, errors = fleet(), list[Exception]()

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        try:
            await ctx.send_now(status("now", "s"))
        except ConfigurationError as error:
            errors.append(error)

    async with rigged(app) as rig:
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: rig.committed() == 1, "committed")
    assert len(errors) == 1


class AtOnce:
    """Notes what it is to send."""

    def __init__(self) -> None:
        self.sent: list[Envelope] = []

    async def send(self, envelope: Envelope) -> None:
        self.sent.append(envelope)

    async def request(self, *_values: Any) -> Any:
        raise AssertionError("nobody asks")


async def test_what_is_sent_at_once_says_which_attempt_it_comes_from() -> None:
    """It is sent whatever becomes of the record; each attempt's has ids of its own."""
    app, at_once = fleet(), AtOnce()

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        await ctx.send_now(status("a", "s"))
        await ctx.send_now(status("b", "s"))
        if ctx.attempt == 1:
            raise OSError("no disk")

    task = assign_task(0, "k")
    async with rigged(app, at_once=at_once) as rig:
        rig.deliver(record(0, task))
        await until(lambda: rig.committed() == 1, "committed")
        assert rig.envelopes("events") == []
    said = [(one.headers["attempt"], one.headers["sequence"]) for one in at_once.sent]
    assert said == [("1", "0"), ("1", "1"), ("2", "0"), ("2", "1")]
    assert len({one.id for one in at_once.sent}) == 4
    assert {one.causation_id for one in at_once.sent} == {task.id}
    assert {one.headers["handler"] for one in at_once.sent} == {"fleet:on_assign_task"}


# --- sync handlers -------------------------------------------------------------------------------


async def test_a_sync_handler_publishes_from_its_thread() -> None:
    """The same context, each call until it is done; its outputs commit with its record."""
    app = fleet()

    @app.on(ASSIGN)
    def on_assign_task(ctx: Any, payload: Mapping[str, Any]) -> None:
        sent = ctx.publish(status(payload["task"]["id"], "s"))
        assert sent.causation_id == ctx.envelope.id
        assert ctx.effect("add", lambda _key: 7) == 7
        assert (ctx.attempt, ctx.cancelled, ctx.agent) == (1, False, "fleet")

    async with rigged(app) as rig:
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: rig.committed() == 1, "committed")
        assert rig.outcomes() == {}
        assert len(rig.envelopes("events")) == 2


async def test_a_sync_handler_keeps_its_key_until_its_thread_ends() -> None:
    """It is told that nobody wants its result; nothing interrupts a thread."""
    app, started, seen = fleet(), list[int](), list[bool]()

    @app.on(ASSIGN)
    def on_assign_task(ctx: Any, _payload: Mapping[str, Any]) -> None:
        started.append(ctx.record.position)
        deadline = time.monotonic() + 20
        while ctx.record.position == 0 and not ctx.cancelled and time.monotonic() < deadline:
            time.sleep(0.005)
        seen.append(ctx.cancelled)
        time.sleep(0.05)
        ctx.publish(status(str(ctx.record.position), "s"))

    async with rigged(app) as rig:
        tasks = [assign_task(n, "k") for n in range(2)]
        rig.deliver(*(record(n, task) for n, task in enumerate(tasks)))
        await until(lambda: started == [0], "running")
        rig.loop.on_cancel(tasks[0].id, "no")
        await until(lambda: seen == [True], "told")
        assert started == [0]
        await until(lambda: rig.committed() == 2, "committed")
        assert rig.outcomes() == {tasks[0].id: "skipped: cancelled"}
        assert [one.payload["current_tasks"] for one in rig.envelopes("events")] == [["1"]]


@pytest.mark.parametrize("error", [StopIteration(), SystemExit(3), OSError("no disk")])
async def test_whatever_a_sync_handler_raises_is_a_failure(error: BaseException) -> None:
    """Also what no future would take: its key would wait for ever."""
    app, attempts = fleet(), list[int]()

    @app.on(ASSIGN)
    def on_assign_task(ctx: Any, _payload: Mapping[str, Any]) -> None:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise error

    async with rigged(app) as rig:
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: rig.committed() == 1, "committed", deadline_s=10)
    assert attempts == [1, 2]


async def test_context_variables_reach_a_sync_handler_and_do_not_come_back() -> None:
    """Its log lines say which record they are about; what it sets is its own."""
    app, seen = fleet(running_max=1), list[str]()
    variable: ContextVar[str] = ContextVar("of_a_thread", default="clean")

    @app.on(ASSIGN)
    def on_assign_task(_ctx: Any, _payload: Mapping[str, Any]) -> None:
        seen.append(variable.get())
        variable.set("left behind")

    async with rigged(app) as rig:
        rig.deliver(*(record(n, assign_task(n, "k")) for n in range(3)))
        await until(lambda: rig.committed() == 3, "committed")
    assert seen == ["clean"] * 3


async def test_the_loop_gets_its_turn_however_many_runners_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After so many records of all runners together, with handlers that never suspend."""
    monkeypatch.setattr(runners, "TURN_MAX", 4)
    app, ran = noting()
    async with rigged(app) as rig:
        tasks = (record(n, assign_task(n, f"k{n}"), key=b"k%d" % n) for n in range(100))
        rig.deliver(*tasks)
        seen = [0]
        while len(ran) < 100:
            await asyncio.sleep(0)
            seen.append(len(ran))
    assert sorted(ran) == list(range(100))
    assert max(after - before for before, after in pairwise(seen)) <= 4
