"""Handlers run again on what they handled: clean if they do the same, named if they do not."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import random
import socket
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from consumers.aggregates import AggregateApp
from consumers.aggregates.shared_state import shared_state
from consumers.app import App
from consumers.context import Context
from consumers.rehearsal import FindingKind, HandlerStuck, Rehearsed, rehearse
from consumers.rehearsal import performing as performing_module
from consumers.rehearsal import rehearsing as rehearsing_module
from consumers.rehearsal.kernel import refuse_connections
from consumers.retry import RetryPolicy
from consumers.sync_context import SyncContext
from consumers.testing import MemoryStage, virtual_time
from streams.envelope import Envelope, Kind
from streams.errors import AgentlogError, ConfigurationError, LogError, NonRetriable
from streams.headers import REDRIVE, REDRIVE_FOR, REDRIVE_HANDLERS
from streams.topics import TASKS

ASSIGN = "agentlog.task.AssignTask"
FINISHED = "agentlog.task.TaskFinished"
STATUS = "agentlog.agent.StatusReported"

Handle = Callable[[Context, Mapping[str, Any]], Awaitable[None]]


def app_of(handle: Any, *, name: str = "fleet", handler: str = "on_assign", **bounds: Any) -> App:
    """An app whose one handler this is."""
    made = App(name, topics=(TASKS,), **bounds)
    made.on(ASSIGN, name=handler)(handle)
    return made


def task(n: int, key: str = "k", **fields: Any) -> Envelope:
    return Envelope(
        type=ASSIGN,
        payload={"task": {"id": f"t{n}", "type": "test", "description": str(n)}},
        recipients=("a1",),
        correlation_id=key,
        **fields,
    )


def finished(payload: Mapping[str, Any], status: str = "completed") -> Envelope:
    return Envelope(type=FINISHED, payload={"task_id": payload["task"]["id"], "status": status})


def reported(text: str, **fields: Any) -> Envelope:
    return Envelope(
        type=STATUS, payload={"agent_status": "busy", "current_tasks": [text]}, **fields
    )


async def plain(ctx: Context, payload: Mapping[str, Any]) -> None:
    """Deterministic: the result, and a report."""
    await ctx.publish(finished(payload))
    await ctx.publish(reported(payload["task"]["id"]))


def again(stage: MemoryStage, app: App, **options: Any) -> Rehearsed:
    return rehearse(
        app, reader=stage.reader, codec=stage.codec, namespace=stage.namespace, **options
    )


async def handled(stage: MemoryStage, count: int = 6, **fields: Any) -> None:
    """Tasks on three keys, handled."""
    await stage.publish_many([task(n, f"k{n % 3}", **fields) for n in range(count)])
    await stage.idle()


def ends(stage: MemoryStage) -> dict[Any, int]:
    """Where every partition of the log ends, transactions that are open included."""
    return {
        source: stage.log.end(source, committed=False)
        for topic in stage.namespace.topics()
        for source in stage.log.partitions(topic)
    }


async def one_difference(live: Handle, now: Any, kind: FindingKind) -> tuple[Rehearsed, Any]:
    """Handled by one, rehearsed by the other: each of two records is found."""
    async with MemoryStage(app_of(live)) as stage:
        await handled(stage, 2)
        before = ends(stage)
        found = again(stage, app_of(now))
        assert ends(stage) == before
    assert found.counts == {kind: 2}
    assert not found.clean
    return found, found.findings[0]


# --- the same, and not the same ------------------------------------------------------------------


@virtual_time
async def test_a_deterministic_app_is_clean_and_nothing_is_written() -> None:
    """Every output is found as it is; several handlers on one record, one of them a plain def."""
    app = app_of(plain)

    @app.on(ASSIGN)
    def on_thread(ctx: SyncContext, payload: Mapping[str, Any]) -> None:
        ctx.publish(reported(f"thread {payload['task']['id']}"))

    async with MemoryStage(app) as stage:
        await handled(stage)
        before = ends(stage)
        found = again(stage, app)
        assert ends(stage) == before
    assert found.clean
    assert (found.records, found.runs, found.outputs, found.not_compared) == (6, 12, 18, 0)
    # What it published to `tasks` itself has no handler: skipped, and passed over here.
    assert found.passed_over == 6


@virtual_time
async def test_a_changed_constant_is_named_with_both_sides() -> None:
    """The record, the handler, the field, what the log says and what the handler says now."""

    async def changed(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(finished(payload, "failed"))
        await ctx.publish(reported(payload["task"]["id"]))

    found, first = await one_difference(plain, changed, FindingKind.DIFFERS)
    [one] = first.differences
    assert (one.path, one.before, one.after) == ("payload.status", "completed", "failed")
    assert (first.handler, first.type) == ("on_assign", FINISHED)
    assert first.record.startswith("test.tasks[")
    assert first.place.startswith("test.tasks[")
    assert first.on_log["payload"]["status"] == "completed"
    assert first.now["payload"]["status"] == "failed"
    assert str(first).endswith("payload.status is 'completed' on the log, 'failed' now")
    assert found.outputs == 2


@virtual_time
async def test_a_wall_clock_and_chance_in_a_payload_are_named() -> None:
    """They are why it says something else each time."""

    async def clock(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(reported(f"{payload['task']['id']} at {time.perf_counter_ns()}"))

    async def chance(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(reported(f"{payload['task']['id']} {random.random()}"))

    for handle in (clock, chance):
        _, first = await one_difference(handle, handle, FindingKind.DIFFERS)
        [one] = first.differences
        assert one.path == "payload.current_tasks"


@virtual_time
async def test_one_publish_more_and_one_less_are_named() -> None:
    """By the handler that makes it, with what it says."""

    async def less(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(finished(payload))

    _, first = await one_difference(less, plain, FindingKind.EXTRA)
    assert (first.handler, first.type) == ("on_assign", STATUS)
    assert first.now["payload"]["agent_status"] == "busy"
    _, first = await one_difference(plain, less, FindingKind.MISSING)
    assert (first.handler, first.type) == ("on_assign", STATUS)
    assert first.on_log["payload"]["agent_status"] == "busy"
    assert "is not published now" in str(first)


@virtual_time
async def test_another_route_is_a_difference() -> None:
    """The same words under another key, or to another recipient."""

    async def here(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(reported(payload["task"]["id"], stream_id="here"))

    async def there(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(reported(payload["task"]["id"], stream_id="there"))

    _, first = await one_difference(here, there, FindingKind.DIFFERS)
    assert {one.path for one in first.differences} == {"stream_id", "to"}


@virtual_time
async def test_a_handler_that_was_renamed_makes_other_ids() -> None:
    """One side is there no more, the other was never there."""
    async with MemoryStage(app_of(plain)) as stage:
        await handled(stage, 1)
        found = again(stage, app_of(plain, handler="renamed"))
    assert found.counts == {FindingKind.EXTRA: 2, FindingKind.MISSING: 2}
    assert "no handler of the app publishes it" in str(found.findings[2])


@virtual_time
async def test_what_the_app_would_not_handle_any_more_is_named() -> None:
    """It takes other types now; what fails on a record that it had handled."""
    other = App("fleet", topics=(TASKS,))

    @other.on("agentlog.Json")
    async def on_json(ctx: Context, payload: Mapping[str, Any]) -> None:
        pass

    async def fails(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        raise NonRetriable("no more")

    async with MemoryStage(app_of(plain)) as stage:
        await handled(stage, 1)
        [gone] = again(stage, other).findings
        [failed] = again(stage, app_of(fails)).findings
    assert gone.kind is FindingKind.NOT_HANDLED
    assert gone.detail == "was handled, and would be skipped now: no_handler"
    assert failed.kind is FindingKind.FAILED
    assert "fails now: NonRetriable: no more" in failed.detail


# --- attempts, outcomes, cuts --------------------------------------------------------------------


@virtual_time
async def test_only_the_attempt_that_committed_is_compared() -> None:
    """Two attempts published other things and failed; the third one's outputs are on the log."""

    async def third(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(reported(f"{payload['task']['id']} attempt {ctx.attempt}"))
        if ctx.attempt < 3:
            raise ValueError("not yet")
        assert ctx.last_failure is not None

    async with MemoryStage(app_of(third)) as stage:
        await handled(stage)
        found = again(stage, app_of(third))
    assert found.clean
    assert (found.runs, found.outputs) == (6, 6)


@virtual_time
async def test_a_crash_before_the_commit_leaves_nothing_to_compare() -> None:
    """The run that died published something else: it is not on the log."""
    runs, began = [], asyncio.Event()

    async def twice(ctx: Context, payload: Mapping[str, Any]) -> None:
        runs.append(payload["task"]["id"])
        await ctx.publish(reported("first" if len(runs) == 1 else "later"))
        if len(runs) == 1:
            began.set()
            await asyncio.sleep(3_600)

    app = app_of(twice)
    async with MemoryStage(app) as stage:
        await stage.publish(task(0))
        await began.wait()
        await stage.crash()
        stage.start_worker(app)
        await stage.idle()
        found = again(stage, app)
    assert len(runs) == 3
    assert found.clean
    assert found.outputs == 1


@virtual_time
async def test_dead_letters_expired_and_skipped_records_are_passed_over() -> None:
    """Only what was handled is handled again."""

    async def odd(ctx: Context, payload: Mapping[str, Any]) -> None:
        if payload["task"]["id"] == "t1":
            raise NonRetriable("never")
        await ctx.publish(reported(payload["task"]["id"]))

    app = app_of(odd, retry=RetryPolicy(attempts_max=1))
    async with MemoryStage(app) as stage:
        await handled(stage, 3)
        await stage.publish(task(7, ttl_ms=1, created_at=1))
        await stage.publish(
            Envelope(type="agentlog.Json", kind=Kind.TASK_RESULT, payload={"json": "1"})
        )
        await stage.idle()
        found = again(stage, app)
    assert found.clean
    assert (found.records, found.passed_over) == (2, 3)


@virtual_time
async def test_a_record_that_has_expired_since_is_handled_again() -> None:
    """What the clock says now means nothing: it was handled in time."""
    app = app_of(plain)
    async with MemoryStage(app) as stage:
        await handled(stage, 2, ttl_ms=30_000)
        await stage.advance(3_600)
        assert again(stage, app).outputs == 4


@virtual_time
async def test_a_cut_bounds_what_is_handled_again_and_a_wrong_one_is_refused() -> None:
    """Outputs may lie beyond it: they belong to what is below."""
    app = app_of(plain)
    async with MemoryStage(app) as stage:
        await handled(stage, 3)
        cut = stage.reader.ends([stage.namespace.topic(TASKS)])
        await handled(stage, 5)
        found = again(stage, app, cut=cut)
        assert found.clean
        assert found.records == 3
        far = {source: end + 1_000 for source, end in cut}
        wrong = type(cut)(cluster_id=cut.cluster_id, topic_ids=cut.topic_ids, ends=far)
        with pytest.raises(LogError, match="the log only reaches"):
            again(stage, app, cut=wrong)


@virtual_time
async def test_another_group_s_records_are_rehearsed_by_its_name() -> None:
    """A new version under another name is tried on what the old one handled."""
    async with MemoryStage(app_of(plain)) as stage:
        await handled(stage, 2)
        assert again(stage, app_of(plain, name="next"), group="fleet").outputs == 4
        with pytest.raises(ConfigurationError, match=r"group next has no journal.*one: fleet"):
            again(stage, app_of(plain, name="next"))
        with pytest.raises(ConfigurationError, match="decides for aggregates"):
            again(stage, AggregateApp("state", shared_state()))


@virtual_time
async def test_copies_for_several_recipients_are_told_apart() -> None:
    """One id on two records of an inbox, each with outputs of its own."""
    app = App("fleet", topics=("inbox",))

    @app.on("agentlog.Json")
    async def on_note(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(reported(f"{ctx.agent} {payload['json']}"))

    async with MemoryStage(app) as stage:
        await stage.publish(
            Envelope(
                type="agentlog.Json",
                kind=Kind.NOTIFICATION,
                payload={"json": "1"},
                recipients=("a", "b"),
                requires_ack=True,
            )
        )
        await stage.idle()
        found = again(stage, app)
    assert found.clean
    assert (found.records, found.outputs) == (2, 2)


@virtual_time
async def test_a_redrive_runs_those_handlers_alone_that_it_ran_then() -> None:
    """The others had ended well on the original record: their outputs are on the log once."""
    app = app_of(plain)

    @app.on(ASSIGN)
    async def audit(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(reported(f"{ctx.envelope.retry_count} {payload['task']['id']}"))

    async with MemoryStage(app) as stage:
        await handled(stage, 1)
        [record] = [one for one in stage.records(TASKS) if one.position == 0]
        redriven = (
            (REDRIVE, b"1"),
            (REDRIVE_FOR, stage.namespace.group("fleet").encode()),
            (REDRIVE_HANDLERS, b'["audit"]'),
        )
        headers = (*record.headers, *redriven)
        stage.log.append(record.source, record.key, record.value, headers)
        await stage.idle()
        found = again(stage, app)
    assert found.clean
    assert (found.records, found.runs, found.outputs) == (2, 3, 4)


# --- effects -------------------------------------------------------------------------------------


@virtual_time
async def test_recorded_effects_are_served_and_never_run() -> None:
    """What they had returned goes into the outputs, so these are the same."""
    ran: list[str] = []

    async def charge(key: str) -> Any:
        ran.append(key)
        return {"receipt": len(ran)}

    async def paying(ctx: Context, payload: Mapping[str, Any]) -> None:
        receipt = await ctx.effect("charge", charge)
        await ctx.publish(reported(f"{payload['task']['id']} {json.dumps(receipt)}"))

    async with MemoryStage(app_of(paying)) as stage:
        await handled(stage)
        assert len(ran) == 6
        found = again(stage, app_of(paying))
    assert found.clean
    assert (len(ran), found.effects_served, found.outputs) == (6, 6, 6)


@virtual_time
async def test_an_effect_that_was_never_recorded_is_named_and_not_run() -> None:
    """Also where the handler goes on without it."""
    ran: list[str] = []

    async def paying(ctx: Context, payload: Mapping[str, Any]) -> None:
        with contextlib.suppress(Exception):
            await ctx.effect("charge", ran.append)
        await plain(ctx, payload)

    _, first = await one_difference(plain, paying, FindingKind.NEVER_RECORDED)
    assert ran == []
    assert first.handler == "on_assign"
    assert "effect that was never recorded for it, under the key msg-" in first.detail
    assert first.detail.endswith(":a1:fleet:on_assign:charge")


@virtual_time
async def test_what_is_sent_at_once_is_caught_and_a_request_is_refused() -> None:
    """Nothing leaves; a request would have nobody to answer it."""

    async def telling(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.send_now(reported("half-way"))
        await plain(ctx, payload)

    async with MemoryStage(app_of(telling)) as stage:
        await handled(stage, 2)
        before = ends(stage)
        found = again(stage, app_of(telling))
        assert ends(stage) == before
    assert found.clean
    assert (found.sent_at_once, found.outputs) == (2, 4)

    async def asking(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.request("a2", {"what": 1}, timeout_s=1)
        await plain(ctx, payload)

    _, first = await one_difference(plain, asking, FindingKind.REFUSED)
    assert "asks a2 (ctx.request)" in first.detail


# --- the network ---------------------------------------------------------------------------------


@pytest.fixture
def listening() -> Any:
    """A port that would answer, and what came to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield server


async def _streams(port: int) -> None:
    await asyncio.open_connection("127.0.0.1", port)


async def _by_name(port: int) -> None:
    await asyncio.open_connection("localhost", port)


async def _plain(port: int) -> None:
    socket.create_connection(("127.0.0.1", port), timeout=1)


async def _datagram(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", ("127.0.0.1", port))


async def _in_executor(port: int) -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, socket.create_connection, ("127.0.0.1", port))


async def _in_thread(port: int) -> None:
    found: list[BaseException] = []

    def connect() -> None:
        try:
            socket.create_connection(("127.0.0.1", port))
        except BaseException as error:  # noqa: BLE001 - told to whoever waits
            found.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    raise found[0]


async def _process(_port: int) -> None:
    await asyncio.create_subprocess_exec("true")


async def _shell(_port: int) -> None:
    subprocess.run(["true"], check=True)  # noqa: ASYNC221 - handlers do what they should not


@pytest.mark.parametrize(
    ("reach", "does"),
    [
        (_streams, "connects to ('127.0.0.1', "),
        (_by_name, "looks up localhost:"),
        (_plain, "looks up 127.0.0.1:"),
        (_datagram, "sends to ('127.0.0.1', "),
        (_in_executor, "looks up 127.0.0.1:"),
        (_in_thread, "looks up 127.0.0.1:"),
        (_process, "starts a process, true"),
        (_shell, "starts a process, true"),
    ],
)
@pytest.mark.parametrize("swallowed", [False, True])
@virtual_time
async def test_who_reaches_beyond_the_log_is_named_and_does_not_get_there(
    listening: socket.socket, reach: Any, does: str, swallowed: bool
) -> None:
    """The handler and the record, whatever way it tries and whether it minds or not."""
    port = listening.getsockname()[1]

    async def reaching(ctx: Context, payload: Mapping[str, Any]) -> None:
        if swallowed:
            with contextlib.suppress(Exception):
                await reach(port)
        else:
            await reach(port)
        await plain(ctx, payload)

    _, first = await one_difference(plain, reaching, FindingKind.REFUSED)
    assert does in first.detail
    assert (first.handler, first.record.startswith("test.tasks[")) == ("on_assign", True)
    with pytest.raises(BlockingIOError):
        listening.accept()
    # It is over: the process may connect again.
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        listening.setblocking(True)
        listening.accept()[0].close()


@virtual_time
async def test_what_a_handler_leaves_behind_is_blamed_on_it() -> None:
    """A task that connects while the next record is handled."""
    left: list[asyncio.Task[Any]] = []

    async def later() -> None:
        await asyncio.sleep(0.05)
        with contextlib.suppress(Exception):
            await asyncio.open_connection("127.0.0.1", 9)

    async def leaving(ctx: Context, payload: Mapping[str, Any]) -> None:
        if payload["task"]["id"] == "t0":
            left.append(asyncio.create_task(later()))
        else:
            await asyncio.wait(left)
        await plain(ctx, payload)

    async with MemoryStage(app_of(plain)) as stage:
        await stage.publish_many([task(0), task(1)])
        await stage.idle()
        records = stage.records(TASKS)
        found = again(stage, app_of(leaving))
    [one] = found.findings
    assert (one.kind, one.record) == (FindingKind.REFUSED, str(records[0]))
    assert found.outputs == 4


@virtual_time
async def test_a_handler_that_does_not_end_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would wait for ever for something that does not happen in a rehearsal."""
    monkeypatch.setattr(performing_module, "HANDLER_S_MAX", 0.2)
    monkeypatch.setattr(performing_module, "STOP_S_MAX", 0.2)
    monkeypatch.setattr(rehearsing_module, "JOIN_S_MAX", 0.2)
    free = threading.Event()

    async def waiting(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        await asyncio.Event().wait()

    def on_thread(_ctx: SyncContext, _payload: Mapping[str, Any]) -> None:
        free.wait()

    async with MemoryStage(app_of(plain)) as stage:
        await handled(stage, 1)
        with pytest.raises(AgentlogError, match=r"on_assign on test.tasks\[\d\]@0 takes longer"):
            again(stage, app_of(waiting))
        with pytest.raises(HandlerStuck, match=r"on_assign on test.tasks\[\d\]@0 takes longer"):
            again(stage, app_of(on_thread))
    free.set()


def c_connect(port: int) -> tuple[int, int]:
    """What a C library would do: the result and errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    address = b"\x02\x00" + port.to_bytes(2, "big") + bytes((127, 0, 0, 1)) + bytes(8)
    with socket.socket() as one:
        return libc.connect(one.fileno(), address, len(address)), ctypes.get_errno()


def test_the_kernel_refuses_what_the_interpreter_does_not_see(listening: socket.socket) -> None:
    """A C library's connect, in a thread under the filter and in one that it starts; no other."""
    port = listening.getsockname()[1]
    found: dict[str, Any] = {}

    def guarded() -> None:
        found["can"] = refuse_connections()
        found["here"] = c_connect(port)
        inner = threading.Thread(target=lambda: found.update(inner=c_connect(port)))
        inner.start()
        inner.join()
        found["loop"] = asyncio.run(asyncio.to_thread(lambda: "wakes up"))

    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    if not found["can"]:
        pytest.skip("this kernel or machine has no seccomp filters")
    assert found["here"] == found["inner"] == (-1, 13)
    assert found["loop"] == "wakes up"
    assert c_connect(port)[0] == 0


@virtual_time
async def test_c_libraries_of_handlers_connect_to_nothing(listening: socket.socket) -> None:
    """Async handlers, and plain ones on their threads; they fail as the network fails."""
    port = listening.getsockname()[1]

    def reach() -> None:
        result, errno = c_connect(port)
        if result:
            raise NonRetriable(f"errno {errno}")

    async def reaching(ctx: Context, payload: Mapping[str, Any]) -> None:
        reach()
        await plain(ctx, payload)

    def on_thread(_ctx: SyncContext, _payload: Mapping[str, Any]) -> None:
        reach()

    async with MemoryStage(app_of(plain)) as stage:
        await handled(stage, 1)
        found = [again(stage, app_of(one)) for one in (reaching, on_thread)]
    if not found[0].kernel_guard:
        pytest.skip("this kernel or machine has no seccomp filters")
    for one in found:
        assert one.counts == {FindingKind.FAILED: 1}
        assert one.findings[0].detail.endswith("NonRetriable: errno 13")
