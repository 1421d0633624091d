"""A worker app: reviewers that finish whatever review is assigned to them.

agentlog worker --app examples.reviewer:app --processes 2
"""

from collections.abc import Mapping
from typing import Any

from consumers.app import App
from consumers.context import Context
from streams import Envelope

app = App("reviewers", topics=("tasks",))


@app.on("agentlog.task.AssignTask")
async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
    """Review it, and say so to whoever asked. Published if, and only if, this record commits."""
    task = payload["task"]
    ctx.log.info("reviewing", task=task["id"])
    await ctx.publish(
        Envelope(
            type="agentlog.task.TaskFinished",
            payload={"task_id": task["id"], "status": "completed"},
            recipients=(ctx.envelope.sender,),
        )
    )
