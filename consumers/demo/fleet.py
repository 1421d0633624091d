"""The fleet: what its agents do when something reaches them.

An assigned task is worked on and finished; whoever assigned it says so in its channel; a question
is answered. So every assignment causes one result, every result one chat message, every question
one answer: what `proof` counts on the log.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from consumers.app import App
from consumers.context import Context
from consumers.demo.ledger import Ledger
from streams.envelope import Envelope, Kind

APP_NAME: Final = "fleet"
WORK_MS_MAX: Final = 5

app = App(APP_NAME, topics=("tasks", "inbox"))
_ledger: Final = Ledger.from_environment()


async def _work(ctx: Context) -> int:
    """Some milliseconds of waiting, as for a model; how many depends on the record alone."""
    if _ledger is not None:
        _ledger.note(ctx.record)
    work_ms = zlib.crc32(ctx.envelope.id.encode()) % (WORK_MS_MAX + 1)
    await asyncio.sleep(work_ms / 1000)
    return work_ms


@app.on("agentlog.task.AssignTask")
async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
    """Do the task and report how it went to whoever assigned it."""
    work_ms = await _work(ctx)
    await ctx.publish(
        Envelope(
            type="agentlog.task.TaskFinished",
            payload={
                "task_id": payload["task"]["id"],
                "status": "completed",
                "result": '{"ok":true}',
                "metrics": {"execution_time": work_ms},
            },
            recipients=(ctx.envelope.sender,),
            channel_id=ctx.envelope.channel_id,
        )
    )


@app.on("agentlog.task.TaskFinished")
async def on_task_finished(ctx: Context, payload: Mapping[str, Any]) -> None:
    """Tell the channel."""
    await _work(ctx)
    await ctx.publish(
        Envelope(
            type="agentlog.chat.MessagePosted",
            payload={
                "message_id": f"done-{payload['task_id']}",
                "author_id": ctx.agent,
                "content": f"{ctx.envelope.sender} finished {payload['task_id']}",
            },
            channel_id=ctx.envelope.channel_id or "general",
        )
    )


@app.on("agentlog.Json")
async def on_question(ctx: Context, payload: Mapping[str, Any]) -> None:
    """Answer a request (S3.12); leave anything else alone."""
    await _work(ctx)
    if ctx.envelope.kind is not Kind.REQUEST:
        return
    asked = msgspec.json.decode(payload["json"])
    answer = {"success": True, "data": {"echo": asked}, "request_id": ctx.envelope.id}
    await ctx.publish(
        Envelope(
            type="agentlog.Json",
            kind=Kind.RESPONSE,
            payload={"json": msgspec.json.encode(answer).decode()},
            recipients=(ctx.envelope.sender,),
            reply_to=ctx.envelope.reply_to,
        )
    )
