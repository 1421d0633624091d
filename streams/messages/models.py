"""The S3 JSON message as pydantic sees it: the trust boundary for what people and files hand in.

Strict: nothing is coerced, unknown fields are refused, times carry their offset, numbers fit the
Avro fields they go to. Validated payloads are already what Avro takes: free-form objects have
become the canonical text of their JSON, times UTC datetimes.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
)

from streams.envelope import PRIORITY_DEFAULT, PRIORITY_MAX, PRIORITY_MIN

_canonical_json: Final = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode

INSTANT_FORM: Final = "an ISO 8601 time with its offset, as in 2026-01-31T12:00:00Z"


def canonical_json(value: Any) -> str:
    """JSON text with sorted keys and no white space. Raises `ValueError` for NaN and infinity."""
    return "{}" if value == {} else _canonical_json(value)


def _calendar(value: Any) -> Any:
    # pydantic would read a number, and a text of digits, as time since the epoch.
    if not isinstance(value, str) or value[4:5] != "-":
        raise ValueError(f"must be {INSTANT_FORM}, not {value!r:.60}")
    return value


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("lies outside the years 1 to 9999") from error


def _addressees(to: Any) -> tuple[str, ...]:
    """The agents of `to`; a pattern (any text with `*`) stands alone."""
    names = [to] if isinstance(to, str) else to
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("must be an agent's id, an array of them, or a broadcast pattern")
    if not names or "" in names:
        raise ValueError("names nobody; `*` means everyone")
    if isinstance(to, list) and any("*" in name for name in names):
        raise ValueError("a broadcast pattern stands alone, not in an array")
    return tuple(dict.fromkeys(names))


def _object_text(value: Any) -> str:
    if not isinstance(value, dict):
        # Only a ValueError is a finding to pydantic.
        raise ValueError(f"must be an object, not {value!r:.60}")  # noqa: TRY004
    return canonical_json(value)


def _value_text(value: Any) -> str | None:
    return None if value is None else canonical_json(value)


JsonObjectText = Annotated[str, BeforeValidator(_object_text)]
JsonValueText = Annotated[str | None, BeforeValidator(_value_text)]
Instant = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_calendar), AfterValidator(_utc)
]
Name = Annotated[str, Field(min_length=1)]
Int = Annotated[int, Field(ge=-(2**31), le=2**31 - 1)]
Long = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Priority = Annotated[int, Field(ge=PRIORITY_MIN, le=PRIORITY_MAX)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Headers(_Strict):
    """S3.3, and the annotations of ours that a message may carry."""

    priority: Priority = PRIORITY_DEFAULT
    ttl: Annotated[int, Field(ge=0, le=2**63 - 1)] | None = None
    requires_ack: bool = False
    correlation_id: str | None = None
    retry_count: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    broadcast_pattern: str | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    origin: str | None = None
    import_seq: Annotated[int, Field(ge=1)] | None = None


class Resources(_Strict):
    """Limits of a task."""

    cpu_limit: str | None = None
    memory_limit: str | None = None
    timeout: Long | None = None


class Task(_Strict):
    """One unit of work."""

    id: str
    type: str
    description: str = ""
    parameters: JsonObjectText = "{}"
    deadline: Instant | None = None
    priority: Priority = PRIORITY_DEFAULT
    dependencies: list[str] = []
    resources: Resources = Resources()


class AssignTask(_Strict):
    """S3.13."""

    task: Task


class TaskError(_Strict):
    """Why a task failed."""

    code: str
    message: str = ""
    details: JsonObjectText | None = None


class TaskMetrics(_Strict):
    """What a task cost."""

    execution_time: Long | None = None
    memory_used: Long | str | None = None
    cpu_used: float | None = None


class TaskFinished(_Strict):
    """S3.14."""

    task_id: str
    status: Literal["completed", "failed", "timeout"]
    result: JsonObjectText | None = None
    error: TaskError | None = None
    metrics: TaskMetrics | None = None
    artifacts: list[str] = []


class Progress(_Strict):
    """How far an agent is."""

    current_task: str | None = None
    percentage: Annotated[int, Field(ge=0, le=100)] | None = None
    eta: Instant | None = None


class Health(_Strict):
    """Load of an agent's machine."""

    cpu_usage: float | None = None
    memory_usage: Long | str | None = None
    load_average: float | None = None


class StatusReported(_Strict):
    """S3.15."""

    agent_status: Literal["idle", "busy", "error", "shutting_down"]
    current_tasks: list[str] = []
    progress: Progress | None = None
    health: Health | None = None


class StateChanged(_Strict):
    """S3.16."""

    key: str
    version: Long
    updated_by: str
    updated_at: Instant
    full_value: JsonValueText = None


class SyncState(_Strict):
    """S3.16."""

    key: str


class _Message(_Strict):
    """S3.1, with the routing fields of ours. `id`, `from` and `timestamp` may await a publisher."""

    id: Annotated[str, Field(pattern=r"^msg-[0-9]{13}-[a-z0-9]{9}$")] | None = None
    sender: Annotated[Name | None, Field(alias="from")] = None
    to: Annotated[Any, AfterValidator(_addressees)]
    timestamp: Instant | None = None
    headers: Headers = Headers()
    channel_id: str | None = None
    server_id: str | None = None
    session_id: str | None = None
    reply_to: str | None = None
    causation_id: str | None = None
    stream_id: str | None = None
    expected_version: Long | None = None


class TaskAssignmentMessage(_Message):
    """S3.13 in its message."""

    type: Literal["task_assignment"]
    payload: AssignTask


class TaskResultMessage(_Message):
    """S3.14 in its message."""

    type: Literal["task_result"]
    payload: TaskFinished


class StatusUpdateMessage(_Message):
    """S3.15 in its message."""

    type: Literal["status_update"]
    payload: StatusReported


class StateChangeMessage(_Message):
    """S3.16 in its message."""

    type: Literal["state_change"]
    payload: StateChanged


class StateSyncRequestMessage(_Message):
    """S3.16 in its message."""

    type: Literal["state_sync_request"]
    payload: SyncState


class FreeMessage(_Message):
    """Any JSON object in its message."""

    type: Literal[
        "request",
        "response",
        "notification",
        "error",
        "heartbeat",
        "shutdown",
        "broadcast",
        "event",
        "command",
    ]
    payload: JsonObjectText


Message = (
    TaskAssignmentMessage
    | TaskResultMessage
    | StatusUpdateMessage
    | StateChangeMessage
    | StateSyncRequestMessage
    | FreeMessage
)

message_adapter: Final[TypeAdapter[Message]] = TypeAdapter(
    Annotated[Message, Field(discriminator="type")]
)
