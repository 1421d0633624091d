"""One app as it ran, and the same app as somebody changed it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from consumers.app import App
from consumers.context import Context
from consumers.sync_context import SyncContext
from streams.envelope import Envelope

ASSIGN = "agentlog.task.AssignTask"
ran: list[str] = []
"""Keys of the effects that were run in this process."""


async def charge(key: str) -> dict[str, Any]:
    """An effect: another result each time."""
    ran.append(key)
    return {"receipt": len(ran)}


def report(*texts: str) -> Envelope:
    return Envelope(
        type="agentlog.agent.StatusReported",
        payload={"agent_status": "busy", "current_tasks": list(texts)},
    )


def _app() -> App:
    """The part that nobody changed: a plain handler on a thread."""
    made = App("rehearsed", topics=("tasks",))

    @made.on(ASSIGN)
    def on_thread(ctx: SyncContext, payload: Mapping[str, Any]) -> None:
        ctx.publish(report("thread", payload["task"]["id"]))

    return made


same, constant, clock, more, less, reaching = (_app() for _ in range(6))


@same.on(ASSIGN, name="on_assign")
async def as_it_ran(ctx: Context, payload: Mapping[str, Any]) -> None:
    """It fails once on every third task, and has an effect."""
    receipt = await ctx.effect("charge", charge)
    await ctx.publish(report(payload["task"]["id"], str(receipt["receipt"])))
    if int(payload["task"]["id"][1:]) % 3 == 0 and ctx.attempt == 1:
        raise ValueError("not yet")


@constant.on(ASSIGN, name="on_assign")
async def with_another_constant(ctx: Context, payload: Mapping[str, Any]) -> None:
    """It says something else of task 4."""
    receipt = await ctx.effect("charge", charge)
    task = payload["task"]["id"]
    await ctx.publish(report("four" if task == "t4" else task, str(receipt["receipt"])))


@clock.on(ASSIGN, name="on_assign")
async def with_a_clock(ctx: Context, payload: Mapping[str, Any]) -> None:
    """It says when it runs."""
    await ctx.publish(report(payload["task"]["id"], str(time.time())))


@more.on(ASSIGN, name="on_assign")
async def with_one_more(ctx: Context, payload: Mapping[str, Any]) -> None:
    """It publishes once more."""
    await as_it_ran(ctx, payload)
    await ctx.publish(report("more"))


@less.on(ASSIGN, name="on_assign")
async def with_one_less(_ctx: Context, _payload: Mapping[str, Any]) -> None:
    """It publishes nothing."""


@reaching.on(ASSIGN, name="on_assign")
async def that_reaches_out(ctx: Context, payload: Mapping[str, Any]) -> None:
    """It connects to somebody, and prints."""
    print("hello")  # noqa: T201 - handlers do
    await asyncio.open_connection("127.0.0.1", 9)
    await as_it_ran(ctx, payload)


dying = App("dying", topics=("tasks",), commit_linger_ms=0)


@dying.on(ASSIGN)
def on_task_that_kills(ctx: SyncContext, payload: Mapping[str, Any]) -> None:
    """Its process dies of task 3, once, after it had published something else."""
    died = Path(os.environ["TEST_DIED"])
    if payload["task"]["id"] == "t3" and not died.exists():
        ctx.publish(report("it will never be seen"))
        died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    ctx.publish(report(payload["task"]["id"]))
