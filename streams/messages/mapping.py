"""The S3 JSON message and the envelope: each from the other, losing nothing silently.

`parse_message` is the trust boundary for files and people; what it returns needs no further doubt.
A message kind decides its payload type by the table `PAYLOAD_TYPES`; kinds without one of their own
travel as `agentlog.Json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import ValidationError

from streams.envelope import IMPORT_SEQ, ORIGIN, TTL_MS_DEFAULT, Envelope, Kind, Lane
from streams.errors import EnvelopeError
from streams.headers import rfc3339
from streams.messages.models import FreeMessage, Headers, Message, canonical_json, message_adapter
from streams.messages.problems import missing, problems

JSON_TYPE: Final = "agentlog.Json"

PAYLOAD_TYPES: Final[Mapping[Kind, str]] = {
    Kind.TASK_ASSIGNMENT: "agentlog.task.AssignTask",
    Kind.TASK_RESULT: "agentlog.task.TaskFinished",
    Kind.STATUS_UPDATE: "agentlog.agent.StatusReported",
    Kind.STATE_CHANGE: "agentlog.state.StateChanged",
    Kind.STATE_SYNC_REQUEST: "agentlog.state.SyncState",
    **dict.fromkeys(
        (
            Kind.REQUEST,
            Kind.RESPONSE,
            Kind.NOTIFICATION,
            Kind.ERROR,
            Kind.HEARTBEAT,
            Kind.SHUTDOWN,
            Kind.BROADCAST,
            Kind.EVENT,
            Kind.COMMAND,
        ),
        JSON_TYPE,
    ),
}
"""The payload type of each kind that an S3 message may have (S3.2, and S3.19's additions)."""

_KINDS: Final = {kind.value: kind for kind in Kind}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_REQUIRED_WHOLE: Final = (("id", "id"), ("sender", "from"), ("timestamp", "timestamp"))
_ANNOTATIONS: Final = ("traceparent", "tracestate", ORIGIN)
_ROUTING: Final = (
    "channel_id",
    "server_id",
    "session_id",
    "reply_to",
    "causation_id",
    "stream_id",
    "expected_version",
)


class InvalidMessage(EnvelopeError):
    """Not a message of the S3 form; `problems` has one sentence for each thing that is wrong."""

    def __init__(self, found: tuple[str, ...]) -> None:
        super().__init__("; ".join(found))
        self.problems = found


def parse_message(
    raw: str | bytes | Mapping[str, Any],
    *,
    whole: bool = True,
    ttl_ms_default: int = TTL_MS_DEFAULT,
) -> Envelope:
    """The envelope that one JSON message says.

    `whole` demands `id`, `from` and `timestamp` (S3.1); without it the publisher stamps what is
    absent (S3.4). `ttl_ms_default` counts where `headers.ttl` is absent. Raises `InvalidMessage`.
    """
    if isinstance(raw, Mapping):
        raw = _dumped(raw)
    try:
        message = message_adapter.validate_json(raw)
    except ValidationError as error:
        raise InvalidMessage(problems(error.errors(include_url=False))) from None
    if whole:
        gone = tuple(
            missing(name) for field, name in _REQUIRED_WHOLE if getattr(message, field) is None
        )
        if gone:
            raise InvalidMessage(gone)
    return _envelope(message, ttl_ms_default)


def _dumped(message: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(message))
    except (TypeError, ValueError) as error:
        raise InvalidMessage((f"not JSON: {error}",)) from error


def _envelope(message: Message, ttl_ms_default: int) -> Envelope:
    kind, headers, to = _KINDS[message.type], message.headers, message.to
    pattern = headers.broadcast_pattern
    recipients: tuple[str, ...] = to
    if "*" in to[0]:
        if pattern not in (None, to[0]):
            problem = f"headers.broadcast_pattern: {pattern!r} is not what `to` says, {to[0]!r}"
            raise InvalidMessage((problem,))
        pattern, recipients = to[0], ()
    payload = (
        {"json": message.payload}
        if isinstance(message, FreeMessage)
        else message.payload.model_dump()
    )
    return Envelope(
        type=PAYLOAD_TYPES[kind],
        payload=payload,
        id=message.id or "",
        kind=kind,
        sender=message.sender or "",
        recipients=recipients,
        broadcast_pattern=pattern,
        correlation_id=headers.correlation_id,
        causation_id=message.causation_id,
        channel_id=message.channel_id,
        server_id=message.server_id,
        session_id=message.session_id,
        reply_to=message.reply_to,
        created_at=(message.timestamp - _EPOCH) // _US if message.timestamp else 0,
        ttl_ms=ttl_ms_default if headers.ttl is None else headers.ttl,
        priority=headers.priority,
        requires_ack=headers.requires_ack,
        retry_count=headers.retry_count,
        lane=Lane.SYSTEM if kind is Kind.SHUTDOWN else Lane.DATA,
        stream_id=message.stream_id,
        expected_version=message.expected_version,
        headers=_annotations(headers),
    )


def _annotations(headers: Headers) -> dict[str, str]:
    found = {name: value for name in _ANNOTATIONS if (value := getattr(headers, name)) is not None}
    if headers.import_seq is not None:
        found[IMPORT_SEQ] = str(headers.import_seq)
    return found


def _iso(value: datetime | int | None) -> str | None:
    if value is None:
        return None
    return rfc3339(value if isinstance(value, int) else (value - _EPOCH) // _US)


def _loaded(text: str | None) -> Any:
    return None if text is None else json.loads(text)


_Render = Callable[[Any], Any]

_RENDER: Final[Mapping[str, Mapping[str, _Render]]] = {
    "agentlog.task.AssignTask": {"task.parameters": _loaded, "task.deadline": _iso},
    "agentlog.task.TaskFinished": {"result": _loaded, "error.details": _loaded},
    "agentlog.agent.StatusReported": {"progress.eta": _iso},
    "agentlog.state.StateChanged": {"full_value": _loaded, "updated_at": _iso},
}
"""Payload fields that JSON shows otherwise than Avro holds them, by path."""


def payload_json(type_name: str, payload: Mapping[str, Any]) -> Any:
    """A payload as JSON: texts that hold JSON opened, times as RFC 3339."""
    if type_name == JSON_TYPE:
        return json.loads(payload["json"])
    return _rendered(payload, _RENDER.get(type_name, {}), "")


def _rendered(value: Any, render: Mapping[str, _Render], path: str) -> Any:
    if path in render:
        return render[path](value)
    if isinstance(value, Mapping):
        below = f"{path}." if path else ""
        return {name: _rendered(item, render, below + name) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rendered(item, render, path + "[]") for item in value]
    if isinstance(value, datetime):
        return _iso(value)
    return value


def to_message(envelope: Envelope) -> dict[str, Any]:
    """The S3 message of a stamped envelope: what `parse_message` reads back as the same envelope.

    Raises `InvalidMessage` for an envelope that the form has no place for.
    """
    _refuse_what_does_not_fit(envelope)
    pattern = envelope.broadcast_pattern
    if not envelope.recipients:
        to: str | list[str] = pattern or "*"
    else:
        to = envelope.recipients[0] if len(envelope.recipients) == 1 else list(envelope.recipients)
    headers: dict[str, Any] = {
        "priority": envelope.priority,
        "ttl": envelope.ttl_ms,
        "requires_ack": envelope.requires_ack,
        "retry_count": envelope.retry_count,
    }
    if envelope.correlation_id is not None:
        headers["correlation_id"] = envelope.correlation_id
    if envelope.recipients and pattern is not None:
        headers["broadcast_pattern"] = pattern
    headers |= envelope.headers
    if envelope.import_seq is not None:
        headers[IMPORT_SEQ] = envelope.import_seq
    return {
        "id": envelope.id,
        "from": envelope.sender,
        "to": to,
        "type": envelope.kind.value,
        "timestamp": rfc3339(envelope.created_at),
        "payload": payload_json(envelope.type, envelope.payload),
        "headers": headers,
        **{name: value for name in _ROUTING if (value := getattr(envelope, name)) is not None},
    }


def _refuse_what_does_not_fit(envelope: Envelope) -> None:
    found = [
        f"{name}: an S3 message has no place for it"
        for name in ("stream_version", "writer", "writer_epoch")
        if getattr(envelope, name) is not None
    ]
    found += [
        f"headers.{name}: an S3 message has no place for it"
        for name in envelope.headers.keys() - {*_ANNOTATIONS, IMPORT_SEQ}
    ]
    if PAYLOAD_TYPES.get(envelope.kind) != envelope.type:
        found.append(f"type: a message of kind {envelope.kind} cannot carry {envelope.type}")
    if (envelope.lane is Lane.SYSTEM) is not (envelope.kind is Kind.SHUTDOWN):
        found.append(f"lane: kind {envelope.kind} does not travel in the {envelope.lane} lane")
    if found:
        raise InvalidMessage(tuple(found))


__all__ = [
    "JSON_TYPE",
    "PAYLOAD_TYPES",
    "InvalidMessage",
    "canonical_json",
    "parse_message",
    "payload_json",
    "to_message",
]
