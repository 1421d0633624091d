"""The pipeline that a schedule runs: two hops, whose handlers do what their plans say.

    one group    tasks: AssignTask ─► tasks: TaskFinished ─► events: StatusReported
    two groups   tasks: AssignTask ─► events: StatusReported ─► channels: MessagePosted

The key goes through unchanged, and so does the subject, which every hop makes longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from consumers.app import App
from consumers.context import Context
from streams.envelope import Envelope
from streams.errors import NonRetriable
from streams.topics import CHANNELS, EVENTS, TASKS
from tests.simulation.plans import Plan
from tests.simulation.schedule import Schedule

ASSIGN: Final = "agentlog.task.AssignTask"
FINISHED: Final = "agentlog.task.TaskFinished"
STATUS: Final = "agentlog.agent.StatusReported"
POSTED: Final = "agentlog.chat.MessagePosted"
OUTPUT_TOPICS: Final = (TASKS, EVENTS, CHANNELS)


class Failed(Exception):
    """What a plan's attempt fails with: another may help."""


class Run(Protocol):
    """One attempt of one handler, as the world sees it."""

    def end(self, how: str) -> None:
        """It has ended."""
        ...

    def crash(self) -> None:
        """Its process dies."""
        ...

    @property
    def crashes(self) -> int:
        """How often this handler has taken its process along on this record."""
        ...


Observe = Callable[[Context, str, str], Run]
"""Called as an attempt begins, with the subject and the handler."""


def make_apps(schedule: Schedule, observe: Observe) -> list[App]:
    """The schedule's groups. One is made for each worker: gates are a process's own."""
    first = _app(schedule, "first", TASKS)
    last = _app(schedule, "last", EVENTS) if schedule.two_groups else first
    _add(schedule, first, observe, ASSIGN, _assigned, STATUS if schedule.two_groups else FINISHED)
    if schedule.two_groups:
        _add(schedule, last, observe, STATUS, _reported, POSTED)
        return [first, last]
    _add(schedule, first, observe, FINISHED, _finished, STATUS)
    return [first]


def handlers_of(schedule: Schedule, group: str, type_name: str) -> tuple[str, ...]:
    """Names of the handlers that a group has for a type."""
    hops = (
        {ASSIGN: "first", STATUS: "last"}
        if schedule.two_groups
        else dict.fromkeys((ASSIGN, FINISHED), "first")
    )
    if hops.get(type_name) != group:
        return ()
    return schedule.bounds.handlers if type_name == ASSIGN else ("a",)


def handler_name(type_name: str, handler: str) -> str:
    """What an app calls it."""
    return f"{handler}_{type_name.rpartition('.')[2]}"


def subject_of(type_name: str, payload: Mapping[str, Any]) -> str:
    """What a record of the pipeline is about; empty for any other."""
    match type_name:
        case "agentlog.task.AssignTask":
            return _assigned(payload)
        case "agentlog.task.TaskFinished":
            return _finished(payload)
        case "agentlog.agent.StatusReported":
            return _reported(payload)
        case "agentlog.chat.MessagePosted":
            return str(payload["message_id"])
    return ""


def envelope_of(type_name: str, subject: str, key: str, **fields: Any) -> Envelope:
    """An envelope of the pipeline about a subject."""
    where: dict[str, Any] = {"correlation_id": key}
    payload: dict[str, Any]
    if type_name == ASSIGN:
        payload = {"task": {"id": subject, "type": "simulated"}}
    elif type_name == FINISHED:
        payload = {"task_id": subject, "status": "completed"}
    elif type_name == STATUS:
        payload = {"agent_status": "busy", "current_tasks": [subject]}
        where["stream_id"] = key
    else:
        payload = {"message_id": subject, "author_id": "a", "content": ""}
        where["channel_id"] = key
    # Nothing expires on its way however long a recovery takes, unless the schedule says so.
    return Envelope(type=type_name, payload=payload, **{"ttl_ms": 0, **where, **fields})


def _assigned(payload: Mapping[str, Any]) -> str:
    return str(payload["task"]["id"])


def _finished(payload: Mapping[str, Any]) -> str:
    return str(payload["task_id"])


def _reported(payload: Mapping[str, Any]) -> str:
    return str(payload["current_tasks"][0])


def _app(schedule: Schedule, name: str, topic: str) -> App:
    bounds = schedule.bounds
    return App(
        name,
        topics=(topic,),
        in_flight_max=bounds.in_flight_max,
        running_max=bounds.running_max,
        commit_linger_ms=bounds.commit_linger_ms,
        drain_s_max=bounds.drain_ms_max / 1000,
        delivery=bounds.delivery,
        retry=bounds.retry,
        dedup_window=bounds.dedup_window,
    )


def _add(
    schedule: Schedule,
    app: App,
    observe: Observe,
    type_name: str,
    subject_in: Callable[[Mapping[str, Any]], str],
    output_type: str,
) -> None:
    """The app's handlers of one hop."""
    bounds = schedule.bounds
    for handler in handlers_of(schedule, app.name, type_name):
        app.on(
            type_name,
            name=handler_name(type_name, handler),
            timeout_s=bounds.timeout_ms / 1000 if bounds.timeout_ms is not None else None,
            concurrency_max=bounds.concurrency_max,
        )(_handler(schedule, handler, observe, subject_in, output_type))


def _handler(
    schedule: Schedule,
    handler: str,
    observe: Observe,
    subject_in: Callable[[Mapping[str, Any]], str],
    output_type: str,
) -> Callable[[Context, Mapping[str, Any]], Awaitable[None]]:
    async def handle(ctx: Context, payload: Mapping[str, Any]) -> None:
        subject = subject_in(payload)
        run = observe(ctx, subject, handler)
        how = "failed"
        try:
            await _follow(schedule.plan(subject, handler), run, ctx, subject, handler, output_type)
            how = "done"
        except asyncio.CancelledError:
            how = "interrupted"
            raise
        finally:
            run.end(how)

    return handle


async def _follow(
    plan: Plan, run: Run, ctx: Context, subject: str, handler: str, output_type: str
) -> None:
    key = (ctx.record.key or b"").decode()
    if plan.effect:
        await ctx.effect("act", _act)
    try:
        await _steps(plan, run, ctx.attempt)
    except asyncio.CancelledError:
        if plan.deaf_ms:
            await asyncio.sleep(plan.deaf_ms / 1000)
        if not plan.returns:
            raise
    if plan.final:
        raise NonRetriable(f"{subject} cannot be done")
    if plan.poison or ctx.attempt <= max(plan.failures, plan.failures_first):
        raise Failed(f"{subject}, attempt {ctx.attempt}")
    for n in range(plan.outputs):
        await ctx.publish(envelope_of(output_type, f"{subject}.{handler}.{n}", key))


async def _steps(plan: Plan, run: Run, attempt: int) -> None:
    """What it waits for, or until it takes its process along."""
    crashes = plan.crashes < 0 or run.crashes < plan.crashes
    if crashes and attempt > plan.failures_first:
        if plan.crash_ms:
            await asyncio.sleep(plan.crash_ms / 1000)
        run.crash()
        await asyncio.Event().wait()  # dead: nothing of it goes on
    for step_ms in plan.steps_ms:
        await asyncio.sleep(step_ms / 1000)


async def _act(key: str) -> str:
    await asyncio.sleep(0)
    return key
