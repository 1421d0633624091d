"""The life of a task as an aggregate: which step may follow which, and what each one says.

    app = AggregateApp("tasks", task_life())

| after | may come |
| --- | --- |
| nothing | assigned |
| assigned | assigned (to another), started, failed, timed_out |
| started, progressed | progressed, completed, failed, timed_out |
| completed, failed, timed_out | nothing |

A task has timed out only when the log took the command after its deadline: no agent's clock says.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from consumers.aggregates.aggregate import Aggregate, Command, Event, Rejected
from streams.envelope import Envelope
from streams.task_life import ADVANCE_TASK, TASK, TASK_ADVANCED, Step, task_stream

State = dict[str, Any]

_UNDER_WAY: Final = frozenset({Step.PROGRESSED, Step.COMPLETED, Step.FAILED, Step.TIMED_OUT})
FOLLOWS: Final[Mapping[str | None, frozenset[Step]]] = {
    None: frozenset({Step.ASSIGNED}),
    Step.ASSIGNED: frozenset({Step.ASSIGNED, Step.STARTED, Step.FAILED, Step.TIMED_OUT}),
    Step.STARTED: _UNDER_WAY,
    Step.PROGRESSED: _UNDER_WAY,
    Step.COMPLETED: frozenset(),
    Step.FAILED: frozenset(),
    Step.TIMED_OUT: frozenset(),
}
"""What may come after each step."""

_SAYS: Final[Mapping[str, Step]] = {
    "assignee": Step.ASSIGNED,
    "deadline": Step.ASSIGNED,
    "percentage": Step.PROGRESSED,
    "result": Step.COMPLETED,
    "error": Step.FAILED,
}
"""Which step each field belongs to."""
_COMMON: Final = ("task_id", "step")
_NEEDS: Final = frozenset({"assignee", "percentage", "error"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def task_life() -> Aggregate:
    """The aggregate; one app of a deployment decides for it."""
    made = Aggregate(TASK, initial=dict)
    made.decide(ADVANCE_TASK)(_advance)
    made.evolve(TASK_ADVANCED)(_evolve)
    return made


def _advance(state: State, command: Command) -> Envelope:
    said = command.payload
    if command.stream_id != task_stream(said["task_id"]):
        raise Rejected("ForeignTask", f"{command.stream_id} is not task {said['task_id']!r}")
    last, step = state.get("step"), said["step"]
    if step not in FOLLOWS[last]:
        allowed = ", ".join(sorted(FOLLOWS[last])) or "nothing"
        raise Rejected(
            "IllegalStep",
            f"task {said['task_id']} cannot be {step}: it is {last or 'not assigned'}, and may be "
            f"{allowed} next",
        )
    for field, of in _SAYS.items():
        if (said[field] is not None) and of != step:
            raise Rejected("IllegalField", f"{field} is for {of}, not for {step}")
        if said[field] is None and of == step and field in _NEEDS:
            raise Rejected("MissingField", f"a task that is {step} needs {field}")
    if step == Step.PROGRESSED and not 0 <= said["percentage"] <= 100:
        raise Rejected("IllegalField", f"percentage is {said['percentage']}, not within 0 and 100")
    if step == Step.TIMED_OUT:
        _require_late(state.get("deadline"), command)
    return Envelope(type=TASK_ADVANCED, payload={name: said[name] for name in (*_COMMON, *_SAYS)})


def _require_late(deadline: datetime | None, command: Command) -> None:
    if deadline is None:
        raise Rejected("NoDeadline", f"{command.stream_id} has no deadline")
    now = _EPOCH + timedelta(milliseconds=command.appended_at_ms)
    if now < deadline:
        raise Rejected("NotLate", f"the deadline of {command.stream_id} is {deadline.isoformat()}")


def _evolve(state: State, event: Event) -> State:
    said = event.payload
    found = {**state, "step": said["step"]}
    for field in _SAYS:
        value = said[field]
        if value is not None:
            found[field] = dict(value) if isinstance(value, Mapping) else value
    return found
