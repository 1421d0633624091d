"""Apps, contexts and references: what a user writes, and what is wrong with it said early."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from consumers.app import App
from consumers.context import OUTPUT_BYTES_MAX, OUTPUTS_MAX, Context, TooManyOutputs
from consumers.current_run import RunCell, add_record_ids, current_run
from consumers.outbox import Outbox
from consumers.references import load_reference
from consumers.retry import RetryPolicy
from consumers.worker.turns import COMMIT_BYTES_MAX
from streams.dead_letters import dead_letter_headers
from streams.envelope import Envelope, Kind
from streams.errors import (
    ConfigurationError,
    EnvelopeTooLarge,
    InvalidPayload,
    NonRetriable,
    UnknownType,
    Unroutable,
)
from streams.identity import derived_id
from streams.record import Record
from streams.schemas import Catalogue, Codec
from streams.topics import Namespace

CODEC = Codec(Catalogue.load())
NOW_US = 1_800_000_000_000_000
SOURCE = Envelope(
    type="agentlog.task.AssignTask",
    payload={},
    id="msg-1700000000000-aaaaaaaaa",
    kind=Kind.TASK_ASSIGNMENT,
    sender="boss",
    recipients=("agent-1",),
    correlation_id="job",
    created_at=1,
)
STATUS = Envelope(
    type="agentlog.agent.StatusReported", payload={"agent_status": "busy"}, stream_id="s"
)


class FixedClock:
    """Always the same moment."""

    def now_us(self) -> int:
        return NOW_US


def context(
    source: Envelope = SOURCE, *, topic: str = "ns.tasks", limit: int = 1_000_000
) -> Context:
    outbox = Outbox(CODEC, Namespace("ns"), FixedClock(), app_name="fleet", record_bytes_max=limit)
    record = Record(topic, 3, 17, 1_750_000_000_000, b"agent-7", b"")
    return Context(outbox, record, source, {}, "on_it")


# --- apps ------------------------------------------------------------------------------------


def test_handlers_are_found_by_type_and_star_in_the_order_of_registration() -> None:
    """A decorated function stays what it was."""
    app = App("fleet", topics=("tasks",))

    @app.on("A")
    async def first(_ctx: Context, _payload: Mapping[str, Any]) -> None: ...

    @app.on()
    async def second(_ctx: Context, _payload: Mapping[str, Any]) -> None: ...

    @app.on("A", name="last")
    async def third(_ctx: Context, _payload: Mapping[str, Any]) -> None: ...

    assert [handler.name for handler in app.handlers_for("A")] == ["first", "second", "last"]
    assert [handler.name for handler in app.handlers_for("B")] == ["second"]
    assert app.handlers[2].function is third
    assert first is app.handlers[0].function


def test_two_handlers_of_one_name_are_refused() -> None:
    """The name is part of ids: it must be one handler's."""
    app = App("fleet", topics=("tasks",))

    @app.on("A", name="same")
    async def first(_ctx: Context, _payload: Mapping[str, Any]) -> None: ...

    with pytest.raises(ConfigurationError, match="two handlers named same"):
        app.on("B", name="same")(first)


def test_a_handler_may_be_async_or_not() -> None:
    """Which it is decides where it runs."""
    app = App("fleet", topics=("tasks",))

    @app.on("A", timeout_s=5, concurrency_max=2)
    async def on_loop(_ctx: Context, _payload: Mapping[str, Any]) -> None: ...

    @app.on("A")
    def on_thread(_ctx: Any, _payload: Mapping[str, Any]) -> None: ...

    assert [(one.name, one.is_async) for one in app.handlers] == [
        ("on_loop", True),
        ("on_thread", False),
    ]
    assert (app.handlers[0].timeout_s, app.handlers[0].concurrency_max) == (5, 2)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"timeout_s": 0}, "must be positive"),
        ({"timeout_s": -1}, "must be positive"),
        ({"timeout_s": 1.0, "thread": True}, "no thread can be interrupted"),
        ({"concurrency_max": 0}, "give at least 1"),
    ],
)
def test_bounds_that_let_no_handler_run_are_refused(wrong: dict[str, Any], said: str) -> None:
    """Said when it is registered, not when the first record comes; it is not registered then."""

    async def on_loop(_ctx: Context, _payload: Mapping[str, Any]) -> None: ...

    def on_thread(_ctx: Any, _payload: Mapping[str, Any]) -> None: ...

    handler = on_thread if wrong.pop("thread", False) else on_loop
    app = App("fleet", topics=("tasks",))
    with pytest.raises(ConfigurationError, match=said):
        app.on("A", **wrong)(handler)
    assert app.handlers == ()


def test_a_handler_that_is_registered_late_is_found() -> None:
    """Asking before does not fix the answer."""
    app = App("fleet", topics=("tasks",))
    assert app.handlers_for("A") == ()

    @app.on("A")
    async def late(_ctx: Context, _payload: Mapping[str, Any]) -> None: ...

    assert [one.name for one in app.handlers_for("A")] == ["late"]


def test_types_that_nobody_registered_are_not_remembered() -> None:
    """Anybody may put any type on the log: asking for it must leave nothing behind."""
    app = App("fleet", topics=("tasks",))

    @app.on("A")
    async def known(_ctx: Context, _payload: Mapping[str, Any]) -> None: ...

    @app.on()
    async def every(_ctx: Context, _payload: Mapping[str, Any]) -> None: ...

    tracemalloc.start()
    try:
        app.handlers_for("B")
        before, _ = tracemalloc.get_traced_memory()
        for n in range(10_000):
            assert [one.name for one in app.handlers_for(f"invented.{n}")] == ["every"]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000
    assert [one.name for one in app.handlers_for("A")] == ["known", "every"]


def test_s5_06_an_app_may_say_which_agents_it_runs() -> None:
    """One name alone is that name, not its letters."""
    assert App("fleet", topics=("inbox",), agents="planner").agents == ("planner",)
    assert App("fleet", topics=("inbox",), agents=["x-*", "y"]).agents == ("x-*", "y")
    assert App("fleet", topics=("tasks",)).agents == ()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"topics": ()}, "no topic"),
        ({"topics": ("tasks", "journal")}, "journal"),
        ({"running_max": 0}, "at least one"),
        ({"in_flight_bytes_max": 1}, "in_flight_bytes_max"),
        ({"commit_linger_ms": -1}, "negative"),
        ({"name": ""}, "needs a name"),
        ({"delivery": "at_most_once"}, "choose from exactly_once, at_least_once"),
        ({"dedup_window": -1}, "dedup_window"),
        ({"threads_max": 0}, "threads_max"),
        ({"agents": ("planner",)}, "does not read inbox"),
        ({"agents": ("planner", ""), "topics": ("inbox",)}, "no agent can be called"),
        ({"agents": map(str, range(1_001)), "topics": ("inbox",)}, "more than 1000"),
    ],
)
def test_bounds_that_cannot_work_are_refused(wrong: dict[str, Any], said: str) -> None:
    """The sentence names the app and the way out."""
    with pytest.raises(ConfigurationError, match=said):
        App(**{"name": "fleet", "topics": ("tasks",), **wrong})


# --- contexts --------------------------------------------------------------------------------


async def test_publish_stamps_what_the_handler_left_empty() -> None:
    """Derived id, cause, correlation, time, kind and sender."""
    ctx = context()
    first = await ctx.publish(STATUS)
    second = await ctx.publish(STATUS)
    assert first.id == derived_id(1_750_000_000_000, "ns.tasks", 3, 17, "fleet:on_it", 0)
    assert second.id == derived_id(1_750_000_000_000, "ns.tasks", 3, 17, "fleet:on_it", 1)
    assert (first.causation_id, first.correlation_id) == (SOURCE.id, "job")
    assert (first.created_at, first.kind, first.sender) == (NOW_US, Kind.STATUS_UPDATE, "agent-1")
    decoded = [CODEC.decode(output.value, output.headers) for output in ctx.outputs]
    assert [one.id for one in decoded] == [first.id, second.id]
    assert [(output.topic, output.key) for output in ctx.outputs] == [("ns.events", b"s")] * 2


async def test_publish_keeps_what_the_handler_set() -> None:
    """Correlation and sender are the handler's to choose; id and cause are not."""
    sent = await context().publish(STATUS.with_(correlation_id="other", sender="me", id="mine"))
    assert (sent.correlation_id, sent.sender) == ("other", "me")
    assert sent.id != "mine"


async def test_what_has_no_correlation_starts_one() -> None:
    """Its id is what its effects belong to."""
    sent = await context(SOURCE.with_(correlation_id=None)).publish(STATUS)
    assert sent.correlation_id == SOURCE.id


@pytest.mark.parametrize(
    ("topic", "recipients", "agent"),
    [
        ("ns.inbox", ("x", "y"), "agent-7"),
        ("ns.tasks", ("x",), "x"),
        ("ns.tasks", ("x", "y"), "fleet"),
        ("ns.tasks", (), "fleet"),
    ],
)
def test_the_agent_is_the_inbox_owner_the_only_recipient_or_the_app(
    topic: str, recipients: tuple[str, ...], agent: str
) -> None:
    """An inbox record is one recipient's, whoever else got a copy."""
    assert context(SOURCE.with_(recipients=recipients), topic=topic).agent == agent


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (STATUS.with_(type="agentlog.NoSuch"), UnknownType),
        (STATUS.with_(payload={"agent_status": 7}), InvalidPayload),
        (Envelope(type="agentlog.chat.ChannelCleared", payload={}), Unroutable),
    ],
)
async def test_a_refused_envelope_leaves_no_output(wrong: Envelope, error: type[Exception]) -> None:
    """The handler may catch it and go on: ids do not shift."""
    ctx = context()
    with pytest.raises((error, InvalidPayload)):
        await ctx.publish(wrong)
    assert ctx.outputs == []
    assert (await ctx.publish(STATUS)).id == derived_id(
        1_750_000_000_000, "ns.tasks", 3, 17, "fleet:on_it", 0
    )


async def test_an_output_that_is_too_large_is_refused() -> None:
    """It would abort its transaction for ever."""
    with pytest.raises(EnvelopeTooLarge):
        await context(limit=300).publish(STATUS.with_(headers={"note": "x" * 500}))


def notice(size: int, recipients: tuple[str, ...] = ("agent-2",)) -> Envelope:
    """A message to inboxes, of about so many bytes."""
    return Envelope(
        type="agentlog.Json",
        payload={"json": f'"{"x" * size}"'},
        kind=Kind.NOTIFICATION,
        recipients=recipients,
    )


async def test_what_one_handler_publishes_is_bounded_in_records() -> None:
    """One for each recipient. The error says the way out, and no later attempt can mend it."""
    ctx = context()
    for _ in range(OUTPUTS_MAX - 1):
        await ctx.publish(STATUS)
    with pytest.raises(TooManyOutputs, match="publish a task for the rest") as raised:
        await ctx.publish(notice(0, ("a", "b")))
    assert RetryPolicy().is_final(raised.value)
    assert len(ctx.outputs) == OUTPUTS_MAX - 1
    await ctx.publish(STATUS)
    with pytest.raises(TooManyOutputs, match="on_it published more than 10000 records"):
        await ctx.publish(STATUS)


async def test_what_one_handler_publishes_is_bounded_in_bytes() -> None:
    """Two handlers of a record still fit into one transaction."""
    ctx = context()
    fit = OUTPUT_BYTES_MAX // 1_800_000
    for _ in range(fit):
        await ctx.publish(notice(900_000, ("a", "b")))
    with pytest.raises(TooManyOutputs, match=f"or {OUTPUT_BYTES_MAX} bytes"):
        await ctx.publish(notice(900_000, ("a", "b")))
    assert len(ctx.outputs) == 2 * fit
    assert 2 * OUTPUT_BYTES_MAX <= COMMIT_BYTES_MAX


async def test_publishing_after_the_handler_ended_is_an_error() -> None:
    """It could not commit with the record any more."""
    ctx = context()
    ctx.end()
    with pytest.raises(RuntimeError, match="on_it has ended"):
        await ctx.publish(STATUS)


def dead(letter_of: str = "ns.tasks") -> Context:
    """A context on a dead letter of a topic."""
    ctx = context(topic="ns.tasks.dlq")
    original = Record(letter_of, 3, 9, 1, b"agent-7", b"its bytes", (("ce_id", b"msg"),))
    found = dead_letter_headers(
        original,
        group="ns.fleet",
        handlers=("on_it",),
        attempts=5,
        error_name="OSError",
        error_message="no disk",
        stack="",
        failed_at_ms=1,
        context={},
    )
    ctx.record = Record("ns.tasks.dlq", 3, 17, 2, b"agent-7", b"its bytes", tuple(found))
    return ctx


async def test_s5_06_a_handler_sends_a_dead_letter_back_as_it_was() -> None:
    """The original bytes, for the group that could not finish them; and the note that it did."""
    ctx = dead()
    assert ctx.dead_letter is not None
    assert (ctx.dead_letter.error_name, ctx.dead_letter.position) == ("OSError", 9)
    await ctx.resubmit("the disk is back")
    note, back = ctx.outputs
    assert (back.topic, back.key, back.value) == ("ns.tasks", b"agent-7", b"its bytes")
    said = dict(back.headers)
    assert (said["redrive"], said["redrive_for"], said["ce_id"]) == (b"1", b"ns.fleet", b"msg")
    payload = CODEC.decode(note.value, note.headers).payload
    assert (payload["action"], payload["note"]) == ("redriven", "the disk is back")


async def test_s5_06_a_dead_letter_whose_note_is_refused_does_not_go_back() -> None:
    """Both, or neither: also for a handler that catches the error."""
    ctx = dead()
    with pytest.raises(InvalidPayload):
        await ctx.resubmit("half a character: \ud800")
    assert ctx.outputs == []


async def test_s5_06_a_dead_letter_does_not_go_back_without_its_note() -> None:
    """Where there is room for one of the two alone, neither is published."""
    ctx = dead()
    for _ in range(OUTPUTS_MAX - 1):
        await ctx.publish(STATUS)
    with pytest.raises(TooManyOutputs):
        await ctx.resubmit()
    assert len(ctx.outputs) == OUTPUTS_MAX - 1


@pytest.mark.parametrize("ctx", [context(), dead("ns.inbox")], ids=["no letter", "forged"])
async def test_what_is_no_dead_letter_cannot_be_sent_back(ctx: Context) -> None:
    """Nor one whose headers name another topic than its own."""
    assert ctx.dead_letter is None
    with pytest.raises(NonRetriable, match="nothing to resubmit"):
        await ctx.resubmit()


def test_the_idempotency_key_is_stable() -> None:
    """It does not depend on the attempt or the position."""
    assert context().idempotency_key == "msg-1700000000000-aaaaaaaaa:agent-1:fleet:on_it"


def test_log_lines_carry_the_ids_of_the_run() -> None:
    """In the handler's task; elsewhere they say nothing of it."""
    assert add_record_ids(None, "info", {"event": "x"}) == {"event": "x"}
    token = current_run.set(RunCell(context()))
    try:
        event = add_record_ids(None, "info", {"event": "x"})
    finally:
        current_run.reset(token)
    assert event["handler"] == "on_it"
    assert event["record"] == "ns.tasks[3]@17"
    assert event["correlation_id"] == "job"


# --- references ------------------------------------------------------------------------------


def test_a_reference_finds_the_current_folder_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MODULE:NAME, also of a class's attribute."""
    (tmp_path / "users_own_module.py").write_text("class Box:\n    thing = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    assert load_reference("users_own_module:Box.thing", int) == 7


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("no_colon", "is not MODULE:NAME"),
        ("no_such_module_here:app", "there is no module"),
        ("consumers.app:nothing", "has no nothing"),
        ("consumers.app:EVERY_TYPE", "is a str, not a App"),
    ],
)
def test_a_wrong_reference_says_what_is_wrong(reference: str, said: str) -> None:
    """A usage error, exit code 2."""
    with pytest.raises(ConfigurationError, match=said):
        load_reference(reference, App)


def test_a_module_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The missing dependency is named, not the user's module."""
    (tmp_path / "users_broken_module.py").write_text("import no_such_dependency\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match="no_such_dependency"):
        load_reference("users_broken_module:app", App)
