"""A projection and an aggregate as they are, and as somebody would have them."""

from __future__ import annotations

from typing import Any

from consumers.aggregates import Aggregate, Event
from consumers.aggregates.task_life import task_life
from consumers.projections import AgentState
from streams.envelope import Envelope
from streams.record import Record
from streams.task_life import TASK_ADVANCED

state = AgentState()
tasks = task_life()


class _Generous(AgentState, frozen=True):
    """Counts task 5 twice."""

    def apply(
        self, state: dict[str, dict[str, Any]], record: Record, envelope: Envelope
    ) -> dict[str, dict[str, Any]]:
        after = super().apply(state, record, envelope)
        if envelope.id.endswith("000005"):
            after["boss"]["sent"]["task_assignment"] += 1
        return after


class _Texts(AgentState, frozen=True):
    """All that is said of each task."""

    name: str = "texts"
    topics: tuple[str, ...] = ("tasks",)

    def apply(
        self, state: dict[str, dict[str, Any]], record: Record, envelope: Envelope
    ) -> dict[str, dict[str, Any]]:
        task = dict(envelope.payload["task"])
        return {**state, task["id"]: {name: str(value) for name, value in task.items()}}

    def merge(
        self, a: dict[str, dict[str, Any]], b: dict[str, dict[str, Any]]
    ) -> dict[str, dict[str, Any]]:
        return {**a, **b}


generous = _Generous()
texts = _Texts()
other_tasks = Aggregate("task", initial=dict)


@other_tasks.evolve(TASK_ADVANCED)
def _evolve(state: dict[str, Any], event: Event) -> dict[str, Any]:
    """Says who started it."""
    after: dict[str, Any] = task_life().evolved(state, event)
    if event.payload["step"] == "started":
        after = {**after, "started_by": event.envelope.sender}
    return after
