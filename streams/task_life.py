"""The life of a task as an agent takes part in it: the commands that move it on. Pure.

A task is the stream `task:<id>`; whoever runs `consumers.aggregates.task_life` decides.
"""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from streams.envelope import Envelope
from streams.errors import InvalidPayload

TASK: Final = "task"
"""Name of the aggregate: the front of its streams' ids."""
ADVANCE_TASK: Final = "agentlog.task.AdvanceTask"
TASK_ADVANCED: Final = "agentlog.task.TaskAdvanced"


class Step(StrEnum):
    """A step in the life of a task."""

    ASSIGNED = "assigned"
    """To an agent, or to another one before it was started."""
    STARTED = "started"
    PROGRESSED = "progressed"
    COMPLETED = "completed"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    """Its deadline is over."""


def task_stream(task_id: str) -> str:
    """Id of the stream of a task's steps."""
    return f"{TASK}:{task_id}"


def advance_task(
    task_id: str,
    step: Step,
    *,
    assignee: str | None = None,
    deadline: datetime | None = None,
    percentage: int | None = None,
    result: Any = None,
    error: tuple[str, str] | None = None,
    expected_version: int | None = None,
) -> Envelope:
    """The command for a task's next step. `error` is (code, message), `result` any JSON value.

    Raises `InvalidPayload` for a result that is none.
    """
    try:
        text = None if result is None else json.dumps(result, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as problem:
        raise InvalidPayload(ADVANCE_TASK, "result", f"is no JSON value: {problem}") from problem
    return Envelope(
        type=ADVANCE_TASK,
        payload={
            "task_id": task_id,
            "step": step.value,
            "assignee": assignee,
            "deadline": deadline,
            "percentage": percentage,
            "result": text,
            "error": None if error is None else {"code": error[0], "message": error[1]},
        },
        stream_id=task_stream(task_id),
        expected_version=expected_version,
    )
