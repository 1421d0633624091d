"""The pipeline that every fault runs: two hops, numbered per key.

    tasks: AssignTask k-n  ──►  tasks: TaskFinished k-n  ──►  events: StatusReported k-n

One group does both hops, so a task's result waits behind other tasks of its key. A task's id is
`<key>-<number>`; it goes through unchanged, so the end of the log tells what came through, how
often and in which order.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from consumers.app import App
from consumers.context import Context
from consumers.retry import RetryPolicy
from streams.envelope import Envelope, Kind
from streams.topics import EVENTS, TASKS
from tests.faults import record_kinds
from tests.faults.checkers import ASSIGNED, REPORTED
from tests.faults.checkers import FINISHED as BETWEEN
from tests.faults.ground import Ground
from tests.faults.load import key_of
from tests.faults.starts import SPECIAL, count_start

ASSIGN: Final = "agentlog.task.AssignTask"
FINISHED: Final = "agentlog.task.TaskFinished"
STATUS: Final = "agentlog.agent.StatusReported"

GROUP: Final = "pipeline"

pipeline = App(
    GROUP, topics=("tasks",), drain_s_max=3, retry=RetryPolicy(wait_ms=100, wait_ms_max=1_000)
)
wide = App(GROUP, topics=("tasks",), drain_s_max=3, in_flight_max=60_000, running_max=200)


@wide.on(ASSIGN)
@pipeline.on(ASSIGN)
async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
    """First hop: every task gets a result."""
    count_start(0)
    task = payload["task"]
    if task["type"] != record_kinds.PLAIN:
        count_start(SPECIAL)
        await _misbehave(task["type"], ctx.attempt)
    for _ in range({record_kinds.FORGOTTEN: 0, record_kinds.TWICE: 2}.get(task["type"], 1)):
        await ctx.publish(
            Envelope(type=FINISHED, payload={"task_id": task["id"], "status": "completed"})
        )


@wide.on(FINISHED)
@pipeline.on(FINISHED)
async def on_task_finished(ctx: Context, payload: Mapping[str, Any]) -> None:
    """Second hop: every result becomes an event of its key."""
    count_start(1)
    await ctx.publish(
        Envelope(
            type=STATUS,
            payload={"agent_status": "idle", "current_tasks": [payload["task_id"]]},
            stream_id=ctx.envelope.correlation_id,
        )
    )


async def _misbehave(kind: str, attempt: int) -> None:
    match kind:
        case record_kinds.DEAF:
            await _deaf()
        case record_kinds.SLOW:
            await asyncio.sleep(record_kinds.SLOW_S)
        case record_kinds.POISON:
            raise RuntimeError("poison")
        case record_kinds.FLAKY if attempt < record_kinds.FLAKY_ATTEMPTS:
            raise RuntimeError(f"not before attempt {record_kinds.FLAKY_ATTEMPTS}")
        case record_kinds.KILLER:
            os.kill(os.getpid(), signal.SIGKILL)


async def _deaf() -> None:
    """Go on whatever anybody says: what a handler must not do, and some will."""
    loop = asyncio.get_running_loop()
    until_s = loop.time() + record_kinds.DEAF_S
    while loop.time() < until_s:
        try:
            await asyncio.sleep(until_s - loop.time())
        except asyncio.CancelledError:
            continue


# --- what the suite knows of it --------------------------------------------------------------


def _make(task_id: str, kind: str) -> Envelope:
    return Envelope(
        type=ASSIGN,
        kind=Kind.TASK_ASSIGNMENT,
        correlation_id=key_of(task_id),
        payload={"task": {"id": task_id, "type": kind, "description": "…"}},
    )


def _seen(envelope: Envelope) -> Sequence[tuple[int, str]]:
    payload = envelope.payload
    match envelope.type:
        case "agentlog.task.AssignTask":
            return [(ASSIGNED, payload["task"]["id"])]
        case "agentlog.task.TaskFinished":
            return [(BETWEEN, payload["task_id"])]
        case "agentlog.agent.StatusReported":
            return [(REPORTED, payload["current_tasks"][0])]
    return []


def _expected(envelope: Envelope) -> Mapping[str, int]:
    return {FINISHED: 1} if envelope.type == ASSIGN else {STATUS: 1}


PIPELINE: Final = Ground(
    app="tests.faults.pipeline:pipeline",
    group=GROUP,
    source=TASKS,
    outputs=(EVENTS,),
    hops=2,
    make=_make,
    seen=_seen,
    expected=_expected,
)
WIDE: Final = msgspec.structs.replace(PIPELINE, app="tests.faults.pipeline:wide")
"""The same with room in flight for more than a mark can hold."""
