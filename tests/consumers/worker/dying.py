"""Apps whose process is killed in the middle, each at a moment that matters."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from confluent_kafka import Producer

from consumers.app import App
from consumers.context import Context
from consumers.marks import Mark
from consumers.worker import transactions
from consumers.worker.ports import Committed
from consumers.worker.source import KafkaSource
from streams.envelope import Envelope

ASSIGN: Final = "agentlog.task.AssignTask"
BEGUN: Final = "DYING_BEGUN"
"""Environment variable: the file that says so."""


def die() -> None:
    """At once, as the system would do it."""
    os.kill(os.getpid(), signal.SIGKILL)


def finished(payload: Mapping[str, Any]) -> Envelope:
    """What these handlers publish."""
    return Envelope(
        type="agentlog.agent.StatusReported",
        payload={"agent_status": "idle", "current_tasks": [payload["task"]["id"]]},
        stream_id=payload["task"]["id"],
    )


hanging: Final = App("hanging", topics=("tasks",))


@hanging.on(ASSIGN)
async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
    """Does its work but for the end, which never comes."""
    await ctx.publish(finished(payload))
    await asyncio.to_thread(Path(os.environ[BEGUN]).touch)
    await asyncio.Event().wait()


at_least_once: Final = App("at-least-once", topics=("tasks",), delivery="at_least_once")
exactly_once: Final = App("exactly-once", topics=("tasks",))


@exactly_once.on(ASSIGN)
@at_least_once.on(ASSIGN)
async def on_work(ctx: Context, payload: Mapping[str, Any]) -> None:
    """Publishes; what comes next kills the process."""
    await ctx.publish(finished(payload))


def positions_kill() -> None:
    """Outputs are on the log, positions are about to be: that is the end, in either delivery."""
    commit = KafkaSource.commit

    async def dies(source: KafkaSource, marks: Mapping[int, Mark]) -> Committed:
        if any(mark.position for mark in marks.values()):
            die()
        return await commit(source, marks)

    class Dies(Producer):
        def send_offsets_to_transaction(self, positions: Any, *rest: Any) -> None:
            if any(one.offset for one in positions):
                self.flush(10)
                die()
            super().send_offsets_to_transaction(positions, *rest)

    KafkaSource.commit = dies  # type: ignore[method-assign, assignment]
    defaults: Any = transactions.KafkaTransactions.__init__.__kwdefaults__
    defaults["make_producer"] = Dies


if os.environ.get("DYING_OF_POSITIONS"):
    positions_kill()
