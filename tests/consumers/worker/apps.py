"""Apps that the tests run in processes of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import zlib
from collections.abc import Mapping
from typing import Any

from consumers.app import App
from consumers.context import Context
from streams.envelope import Envelope

pipeline = App("pipeline", topics=("tasks",), drain_s_max=10)


@pipeline.on("agentlog.task.AssignTask")
async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
    """First hop: every task gets a result, after a moment."""
    await asyncio.sleep(zlib.crc32(ctx.envelope.id.encode()) % 4 / 1000)
    await ctx.publish(
        Envelope(
            type="agentlog.task.TaskFinished",
            payload={"task_id": payload["task"]["id"], "status": "completed"},
        )
    )


@pipeline.on("agentlog.task.TaskFinished")
async def on_task_finished(ctx: Context, payload: Mapping[str, Any]) -> None:
    """Second hop: every result becomes an event of its key."""
    await ctx.publish(
        Envelope(
            type="agentlog.agent.StatusReported",
            payload={"agent_status": "idle", "current_tasks": [payload["task_id"]]},
            stream_id=ctx.envelope.correlation_id,
        )
    )


deadly = App("deadly", topics=("tasks",), commit_linger_ms=5)


@deadly.on("agentlog.task.AssignTask")
async def on_deadly_task(ctx: Context, payload: Mapping[str, Any]) -> None:
    """Two of its tasks kill whoever runs them; every other becomes an event of its key."""
    if payload["task"]["id"] in {"t10", "t11"}:
        os.kill(os.getpid(), signal.SIGKILL)
    await ctx.publish(
        Envelope(
            type="agentlog.agent.StatusReported",
            payload={"agent_status": "idle", "current_tasks": [payload["task"]["id"]]},
            stream_id=ctx.envelope.correlation_id,
        )
    )
