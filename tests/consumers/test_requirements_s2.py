"""The row of S2 about patterns, of which the log gives the last: event sourcing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from consumers.app import App
from consumers.audit import audit, broker_marks
from consumers.context import Context
from consumers.projections import AgentState
from consumers.rehearsal import rehearse
from consumers.replay import replay
from streams.cuts import Cut
from streams.envelope import Envelope
from streams.kafka.groups import GroupAdmin
from streams.topics import INBOX, TASKS
from tests.consumers.worker.harness import ASSIGN, CODEC, Bench, assign_task, until

FINISHED = "agentlog.task.TaskFinished"


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


def finishers() -> App:
    """Whoever is assigned a task finishes it, and tells the boss."""
    app = App("finishers", topics=(TASKS,))

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        done = {"task_id": payload["task"]["id"], "status": "completed"}
        await ctx.publish(Envelope(type=FINISHED, payload=done, recipients=("boss",)))

    return app


async def test_s2_06_the_history_is_complete_and_can_be_audited_and_replayed(bench: Bench) -> None:
    """All that was sent is there, every record has its outcome, what agents knew at any moment is
    rebuilt, and handlers that run again on it publish what they had published.
    """
    bench.send([assign_task(n, f"key-{n % 3}", recipients=("worker",)) for n in range(30)])
    before = bench.reader.ends(bench.namespace.topics(AgentState().topics))
    async with bench.working(finishers()) as working:
        await until(lambda: bench.caught_up("finishers"), "all is handled", task=working)

    history = [*bench.envelopes(TASKS), *bench.envelopes(INBOX)]
    assert sorted(one.payload["task"]["id"] for one in history if one.type == ASSIGN) == sorted(
        f"t{n}" for n in range(30)
    )
    assert sorted(one.payload["task_id"] for one in history if one.type == FINISHED) == sorted(
        f"t{n}" for n in range(30)
    )
    marks = broker_marks(GroupAdmin(bench.servers, bench.namespace), bench.reader, bench.namespace)
    (books,) = audit(bench.reader, CODEC, bench.namespace, group="finishers", committed=marks)
    assert books.clean
    assert books.outcomes["handled"] == 30

    def rebuilt(cut: Cut | None) -> Any:
        return replay(
            AgentState(), reader=bench.reader, codec=CODEC, namespace=bench.namespace, cut=cut
        ).state

    then, now = rebuilt(before), rebuilt(None)
    assert then["worker"]["assigned"] == now["worker"]["assigned"] == 30
    assert then["worker"]["finished"] == {}
    assert sum(now["boss"]["received"].values()) == 30
    again = rehearse(finishers(), reader=bench.reader, codec=CODEC, namespace=bench.namespace)
    assert (again.runs, again.outputs, list(again.findings)) == (30, 30, [])
