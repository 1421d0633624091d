"""The stage: the real worker on the log in memory, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from consumers.app import App
from consumers.context import Context
from consumers.journal import Outcome, Reason
from consumers.journal.tiling import Tiling
from consumers.sync_context import SyncContext
from consumers.testing import MemoryStage, NotIdle, run, virtual_time
from consumers.worker.memory import Call
from streams.control import cancel, drain
from streams.envelope import Envelope, Kind
from streams.errors import ConfigurationError, NonRetriable, RequestFailed, RequestTimeout
from streams.memory import Fault
from streams.record import Partition

ASSIGN = "agentlog.task.AssignTask"
FINISHED = "agentlog.task.TaskFinished"
JSON = "agentlog.Json"
STATUS = "agentlog.agent.StatusReported"


def task(n: int, key: str = "k", **fields: Any) -> Envelope:
    return Envelope(
        type=ASSIGN,
        payload={"task": {"id": f"t{n}", "type": "test"}},
        correlation_id=key,
        sender="boss",
        **fields,
    )


def status(text: str, stream: str) -> Envelope:
    payload = {"agent_status": "busy", "current_tasks": [text]}
    return Envelope(type=STATUS, payload=payload, stream_id=stream)


def pipeline(**settings: Any) -> App:
    """Every task becomes an event of its key, after a moment."""
    app = App("pipeline", topics=("tasks",), **settings)

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        await asyncio.sleep(0.01)
        await ctx.publish(status(payload["task"]["id"], ctx.envelope.correlation_id or ""))

    return app


def names(stage: MemoryStage) -> list[str]:
    return [one["current_tasks"][0] for one in stage.payloads(STATUS)]


def faults_of(stage: MemoryStage, app: App) -> list[object]:
    """What the journal and the tasks say of each other: nothing, if every record ended once."""
    group = stage.namespace.group(app.name)
    tilings: dict[Partition, Tiling] = {}
    for envelope in stage.envelopes("journal"):
        payload = envelope.payload
        if payload["group"] == group:
            source = Partition(payload["topic"], payload["partition"])
            tilings.setdefault(source, Tiling()).add(payload)
    visible: dict[Partition, list[int]] = {}
    for record in stage.records("tasks"):
        visible.setdefault(record.source, []).append(record.position)
    return [
        fault
        for source in tilings.keys() | visible.keys()
        for fault in tilings.get(source, Tiling()).check(visible.get(source, [])).faults
    ]


@virtual_time
async def test_the_attempts_of_a_record_take_their_time_and_cost_none() -> None:
    """Waits of 1, 2, 4 and 8 s; the key waits, another key does not."""
    app = App("fleet", topics=("tasks",))
    tried: list[tuple[str, int, float]] = []

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        now_s = asyncio.get_running_loop().time()
        tried.append((payload["task"]["id"], ctx.attempt, now_s))
        if payload["task"]["id"] == "t0":
            raise RuntimeError("not today")

    async with MemoryStage(app) as stage:
        failing = await stage.publish(task(0, "a"))
        behind = await stage.publish(task(1, "a"))
        free = await stage.publish(task(2, "b"))
        await stage.advance(0.5)
        assert stage.outcome(failing.id) is None
        assert [one[:2] for one in tried if one[0] != "t0"] == [("t2", 1)]
        await stage.idle()
        times = [at for name, _, at in tried if name == "t0"]
        waits = [round(later - sooner) for sooner, later in itertools.pairwise(times)]
        assert waits == [1, 2, 4, 8]
        ending = stage.outcome(failing.id)
        assert ending is not None
        assert (ending.outcome, ending.reason) == (Outcome.DEAD_LETTERED, "RuntimeError")
        assert [one.value for one in stage.records("tasks.dlq")] == [
            one.value for one in stage.records("tasks") if one.key == b"a"
        ][:1]
        for placed in (behind, free):
            ended = stage.outcome(placed.id)
            assert ended is not None
            assert ended.outcome is Outcome.HANDLED


@virtual_time
async def test_what_cannot_succeed_is_not_tried_again() -> None:
    """A `NonRetriable` error ends it at once."""
    app = App("fleet", topics=("tasks",))

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        raise NonRetriable("never")

    async with MemoryStage(app) as stage:
        placed = await stage.publish(task(0))
        await stage.idle()
        assert asyncio.get_running_loop().time() < 5
        ending = stage.outcome(placed.id)
        assert ending is not None
        assert ending.outcome is Outcome.DEAD_LETTERED


@virtual_time
async def test_timeouts_are_virtual_too() -> None:
    """A handler that takes an hour is interrupted after its minute, five times."""
    app = App("fleet", topics=("tasks",))
    starts = 0

    @app.on(ASSIGN, timeout_s=60)
    async def on_assign_task(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        nonlocal starts
        starts += 1
        await asyncio.sleep(3600)

    async with MemoryStage(app) as stage:
        await stage.publish(task(0))
        with pytest.raises(NotIdle, match=r"test\.fleet has committed test\.tasks\[\d\] up to 0"):
            await stage.idle(within_s=30)
        await stage.idle()
        assert starts == 5
        assert len(stage.records("tasks.dlq")) == 1


@virtual_time
async def test_a_plain_function_runs_on_its_thread() -> None:
    """The virtual clock waits for it."""
    app = App("fleet", topics=("tasks",))

    @app.on(ASSIGN)
    def on_assign_task(ctx: SyncContext, payload: Mapping[str, Any]) -> None:
        ctx.publish(status(payload["task"]["id"], "s"))

    async with MemoryStage(app) as stage:
        await stage.publish_many(task(n) for n in range(5))
        await stage.idle()
        assert names(stage) == [f"t{n}" for n in range(5)]


@virtual_time
async def test_requests_are_answered_and_handlers_may_ask_each_other() -> None:
    """A client asks one app, whose handler asks another; what nobody answers times out."""
    front, back = App("front", topics=("inbox",)), App("back", topics=("inbox",))

    @front.on(JSON)
    async def on_question(ctx: Context, _payload: Mapping[str, Any]) -> None:
        if ctx.agent == "front":
            found = await ctx.request("back", {"ask": 2}, timeout_s=30)
            await ctx.respond({"answer": found.data})

    @back.on(JSON)
    async def on_inner_question(ctx: Context, _payload: Mapping[str, Any]) -> None:
        if ctx.agent == "back":
            await ctx.respond(42)

    async with MemoryStage(front, back) as stage, stage.client("asker") as client:
        answer = await client.request("front", {"ask": 1}, timeout_s=60)
        assert answer.data == {"answer": 42}
        before_s = asyncio.get_running_loop().time()
        with pytest.raises(RequestTimeout):
            await client.request("nobody", {"ask": 3}, timeout_s=60)
        assert asyncio.get_running_loop().time() - before_s == pytest.approx(60, abs=0.1)
        await stage.idle()


@pytest.mark.parametrize(
    ("asked", "app_bounds", "handler_bounds"),
    [
        ({"front": "back", "back": "front"}, {}, {}),
        ({"front": "back"}, {"running_max": 1}, {}),
        ({"front": "back"}, {}, {"concurrency_max": 1}),
    ],
    ids=["circle", "running_max", "concurrency_max"],
)
def test_requests_that_wait_for_each_other_end_with_the_innermost_timeout(
    asked: dict[str, str], app_bounds: dict[str, Any], handler_bounds: dict[str, Any]
) -> None:
    """As docs/requests.md says; whoever asked first still hears of it."""
    app = App("desk", topics=("inbox",), **app_bounds)

    @app.on(JSON, **handler_bounds)
    async def on_message(ctx: Context, payload: Mapping[str, Any]) -> None:
        if ctx.agent not in asked:
            await ctx.respond("from the end")
            return
        try:
            left = json.loads(payload["json"])["left_s"] - 10
            answer = await ctx.request(asked[ctx.agent], {"left_s": left}, timeout_s=left)
        except RequestTimeout:
            await ctx.fail("RequestTimeout", f"{ctx.agent} gave up")
        except RequestFailed as error:
            await ctx.fail(error.name, error.message)
        else:
            await ctx.respond(answer.data)

    @virtual_time
    async def play() -> None:
        async with MemoryStage(app) as stage, stage.client() as client:
            innermost = "back" if "back" in asked else "front"
            with pytest.raises(RequestFailed, match=f"{innermost} gave up"):
                await client.request("front", {"left_s": 60}, timeout_s=60)

    play()


@virtual_time
async def test_control_is_heard() -> None:
    """A cancel before its request wins; a drain ends the worker, and another goes on."""
    app = pipeline()
    async with MemoryStage(app) as stage:
        cancelled = task(0, id="msg-1767225600000-aaaaaaaaa")
        await stage.publish(cancel(cancelled.id, "not needed"))
        await stage.publish(cancelled)
        await stage.idle()
        ending = stage.outcome(cancelled.id)
        assert ending is not None
        assert (ending.outcome, ending.reason) == (Outcome.SKIPPED, Reason.CANCELLED)
        await stage.publish(drain(stage.workers[0].run_id))
        await stage.publish(task(1))
        await stage.advance(5)
        stage.start_worker()
        await stage.idle()
        assert names(stage) == ["t1"]


@virtual_time
async def test_workers_share_and_what_one_leaves_another_takes() -> None:
    """Two at work, then one: every task once, in order per key."""
    app = pipeline()
    async with MemoryStage(app) as stage:
        second = stage.start_worker()
        await stage.publish_many(task(n, f"k{n % 20}") for n in range(25))
        await stage.advance(5)
        await stage.publish_many(task(n, f"k{n % 20}") for n in range(25, 50))
        await stage.advance(0.005)
        stage.log.rebalance(stage.workers[0].group)
        await stage.stop_worker(second)
        await stage.idle()
        assert sorted(names(stage), key=lambda name: int(name[1:])) == [f"t{n}" for n in range(50)]
        by_key: dict[str, list[int]] = {}
        for one in stage.outputs(STATUS):
            by_key.setdefault(one.stream_id or "", []).append(
                int(one.payload["current_tasks"][0][1:])
            )
        assert all(numbers == sorted(numbers) for numbers in by_key.values())
        assert {one.writer for one in stage.outputs(STATUS)} == {"run-1", "run-2"}
        assert faults_of(stage, app) == []


@pytest.mark.parametrize("noticed", [True, False])
def test_a_crash_is_found_out_by_the_supervisor_or_by_timeouts(noticed: bool) -> None:
    """Either way all is done once; unnoticed it takes the session and the transaction to end."""

    async def main() -> float:
        app = pipeline()
        async with MemoryStage(app) as stage:
            await stage.publish_many(task(n, f"k{n % 5}") for n in range(20))
            await stage.advance(0.015)
            crashed_s = asyncio.get_running_loop().time()
            await stage.crash(noticed=noticed)
            stage.start_worker()
            await stage.idle()
            assert Counter(names(stage)) == Counter({f"t{n}": 1 for n in range(20)})
            assert faults_of(stage, app) == []
            return asyncio.get_running_loop().time() - crashed_s

    took_s = run(main())
    assert (took_s < 5) is noticed


@pytest.mark.parametrize(
    ("crash", "expected"), [(True, ["1"]), (False, ["1", "2"])], ids=["takeover", "retry"]
)
def test_what_is_sent_at_once_has_the_id_of_its_attempt(crash: bool, expected: list[str]) -> None:
    """Who takes over begins with attempt 1: what that one sent is sent again under its own id, and
    workers skip it. A later attempt may send something else, so its ids are others.
    """
    app, watcher = App("pipeline", topics=("tasks",)), App("watcher", topics=("inbox",))
    attempts: list[str] = []
    progress = Envelope(
        type=JSON, kind=Kind.NOTIFICATION, payload={"json": "1"}, recipients=("watcher",)
    )

    @virtual_time
    async def play() -> None:
        blocked = asyncio.Event()

        @app.on(ASSIGN)
        async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
            await ctx.send_now(progress)
            if blocked.is_set():
                return
            blocked.set()
            if crash:
                await asyncio.sleep(3600)
            raise OSError("no disk")

        @watcher.on(JSON)
        async def on_progress(ctx: Context, _payload: Mapping[str, Any]) -> None:
            attempts.append(ctx.envelope.headers["attempt"])

        async with MemoryStage(app, watcher) as stage:
            await stage.publish(task(0))
            await blocked.wait()
            if crash:
                await stage.crash()
                stage.start_worker()
            await stage.idle()
            sent = [one.id for one in stage.envelopes("inbox")]
            endings = [
                ending.reason or ending.outcome
                for one in dict.fromkeys(sent)
                for ending in stage.outcomes(one, watcher).values()
            ]
            assert (len(sent), len(set(sent))) == (2, len(expected))
            assert endings == (["handled", "duplicate"] if crash else ["handled", "handled"])

    play()
    assert attempts == expected


@virtual_time
async def test_at_least_once_is_kept_too() -> None:
    """Nothing is lost; its outputs are seen before its positions are committed."""
    app = pipeline(delivery="at_least_once")
    async with MemoryStage(app) as stage:
        await stage.publish_many(task(n) for n in range(10))
        await stage.idle()
        assert names(stage) == [f"t{n}" for n in range(10)]
        assert all(
            stage.log.end(one.source, committed=False) == one.position + 1
            for one in stage.records("events")[-1:]
        )


@pytest.mark.parametrize("seed", range(8))
def test_faults_change_nothing(seed: int) -> None:
    """Refused, lost, unanswered and delayed commits, crashes before any call, rebalances: every
    task has one result (or is quarantined, where its workers died too often), and the journal
    tiles its source. The seed replays it.
    """

    async def main() -> tuple[list[str], int, list[object]]:
        rng = random.Random(seed)
        app = pipeline(commit_linger_ms=1, dedup_window=50)

        async def pace(_call: Call) -> None:
            await asyncio.sleep(rng.choice([0, 0, 0, 0.001, 0.02]))

        stage = MemoryStage(app, seed=seed, pace=pace)
        async with stage:
            stage.start_worker()
            for n in range(0, 120, 6):
                await stage.publish_many(task(m, f"k{m % 7}") for m in range(n, n + 6))
                await stage.advance(rng.random() / 10)
                await something_happens(stage, rng)
            await stage.idle()
            crashed = len(stage.records("tasks.dlq"))
            return names(stage), crashed, faults_of(stage, app)

    done, crashed, faults = run(main())
    assert faults == []
    assert max(Counter(done).values()) == 1
    assert len(done) + crashed == 120


async def something_happens(stage: MemoryStage, rng: random.Random) -> None:
    """One fault, or none."""
    match rng.randrange(6):
        case 0:
            fault = rng.choice([one for one in Fault if one is not Fault.COMMIT_DELAYED])
            stage.log.fail_next(fault)
        case 1:
            await stage.crash(rng.choice(stage.workers), noticed=rng.random() < 0.5)
            stage.start_worker()
        case 2:
            stage.log.rebalance(stage.workers[0].group)
        case 3:
            stage.log.fail_next(Fault.COMMIT_DELAYED)
            await stage.advance(rng.random() / 10)
            stage.log.deliver_delayed()


def test_the_same_seed_is_the_same_run() -> None:
    """Bytes, positions and times of every record."""

    async def main() -> list[tuple[object, ...]]:
        app = pipeline()
        async with MemoryStage(app, seed=3) as stage:
            stage.start_worker()
            await stage.publish_many(task(n, f"k{n % 5}") for n in range(30))
            await stage.advance(0.02)
            await stage.crash(noticed=False)
            stage.start_worker()
            await stage.idle()
            return [
                (str(one), one.appended_at_ms, one.value)
                for topic in ("tasks", "events", "journal")
                for one in stage.records(topic)
            ]

    assert run(main()) == run(main())


async def test_it_works_in_real_time_too() -> None:
    """On the event loop that is there; only `advance` says that it cannot."""
    async with MemoryStage(pipeline()) as stage:
        await stage.publish(task(0))
        await stage.idle(within_s=60)
        assert names(stage) == ["t0"]
        with pytest.raises(ConfigurationError, match="virtual_time"):
            await stage.advance(1)
