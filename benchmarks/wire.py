"""The log's records without agentlog's code: fastavro for values, headers by hand.

For the baselines, and for the peers, whose environment has fastavro and msgspec but not agentlog.
Nothing is checked, as nothing is by fastavro.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any, Final, NamedTuple

import fastavro
import msgspec

Header = tuple[str, bytes]

PREFIX_LENGTH: Final = 5
"""Confluent's frame: a zero byte and the schema's id."""
REPORT: Final = "agentlog.agent.StatusReported"
SAID: Final[Mapping[str, Any]] = {
    "agent_status": "busy",
    "current_tasks": ["task-1"],
    "progress": None,
    "health": None,
}
"""What every handler with an output reports."""

_write: Final[Any] = fastavro.schemaless_writer
_read: Final[Any] = fastavro.schemaless_reader
_json: Final = msgspec.json.Encoder().encode
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC, without the cost of saying so


class Schema(NamedTuple):
    """A type's whole writer schema, parsed, and the five bytes in front of its values."""

    frame: bytes
    parsed: Any


Schemas = Mapping[str, Schema]
"""By payload type."""


def load_schemas(path: Path) -> Schemas:
    """From the file that `benchmarks.plain.save_schemas` wrote."""
    found = msgspec.json.decode(path.read_bytes(), type=dict[str, tuple[bytes, Any]])
    return {
        name: Schema(frame, fastavro.parse_schema(schema))
        for name, (frame, schema) in found.items()
    }


def wire_value(schema: Schema, fields: Mapping[str, Any]) -> bytes:
    """The framed Avro value of a message's fields."""
    buffer = BytesIO()
    buffer.write(schema.frame)
    _write(buffer, schema.parsed, fields)
    return buffer.getvalue()


def wire_reader(schemas: Schemas) -> Callable[[bytes], dict[str, Any]]:
    """A function from a framed value to its whole record, envelope and payload."""
    by_frame = {schema.frame: schema.parsed for schema in schemas.values()}

    def read(value: bytes) -> dict[str, Any]:
        buffer = BytesIO(value)
        fields: dict[str, Any] = _read(buffer, by_frame[buffer.read(PREFIX_LENGTH)], None)
        return fields

    return read


def wire_headers(fields: Mapping[str, Any]) -> list[Header]:
    """The headers that agentlog's records have."""
    name, created_at = fields["type"].encode(), fields["created_at"]
    sent = _EPOCH + timedelta(microseconds=created_at)
    headers = [
        ("type", name),
        ("kind", fields["kind"].encode()),
        ("lane", fields["lane"].encode()),
        ("priority", b"%d" % fields["priority"]),
        ("ce_specversion", b"1.0"),
        ("ce_type", name),
        ("ce_id", fields["id"].encode()),
        ("ce_source", fields["sender"].encode()),
        ("ce_time", f"{sent.isoformat(timespec='microseconds')}Z".encode()),
    ]
    if fields["recipients"]:
        headers.append(("recipients", _json(fields["recipients"])))
    if fields["ttl_ms"]:
        headers.append(("expires_at_ms", b"%d" % (created_at // 1000 + fields["ttl_ms"])))
    headers += [
        (key, fields["headers"][key].encode())
        for key in ("traceparent", "origin")
        if key in fields["headers"]
    ]
    return headers


def report_on(task: Mapping[str, Any], n: int) -> dict[str, Any]:
    """The fields of what a handler publishes about a task; no two of one `n`."""
    now_us = time.time_ns() // 1000
    return {
        "id": f"msg-{now_us // 1000:013d}-{n:09d}",
        "kind": "status_update",
        "type": REPORT,
        "sender": (task["recipients"] or ["worker"])[0],
        "recipients": [],
        "correlation_id": task["correlation_id"],
        "causation_id": task["id"],
        "created_at": now_us,
        "ttl_ms": 0,
        "priority": 3,
        "requires_ack": False,
        "retry_count": 0,
        "lane": "data",
        "headers": {},
        "payload": SAID,
    }
