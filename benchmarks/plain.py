"""What one writes without agentlog: a dict per message, fastavro, headers by hand.

The baselines start from the dict that fastavro wants, with topic and key at hand: whatever it
takes to get that far is not counted against them. Nothing is checked, as nothing is by fastavro.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from io import BytesIO
from typing import Any, Final, NamedTuple

import fastavro
import msgspec

from streams.envelope import Envelope
from streams.schemas import Catalogue
from streams.schemas.framing import PREFIX_LENGTH, frame
from streams.topics.routing import route

Header = tuple[str, bytes]

_write: Final[Any] = fastavro.schemaless_writer
_read: Final[Any] = fastavro.schemaless_reader
_json: Final = msgspec.json.Encoder().encode
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  # UTC, without the cost of saying so


class Schema(NamedTuple):
    """A type's whole writer schema, parsed, and the five bytes in front of its values."""

    frame: bytes
    parsed: Any


class PlainMessage(NamedTuple):
    """One message, ready to be encoded and sent."""

    topic: str
    """Logical name."""
    key: bytes
    schema: Schema
    fields: dict[str, Any]

    def value(self) -> bytes:
        """The framed Avro value."""
        return plain_value(self.schema, self.fields)

    def headers(self) -> list[Header]:
        """Its Kafka headers."""
        return plain_headers(self.fields)


def plain_schemas(catalogue: Catalogue) -> dict[str, Schema]:
    """By payload type."""
    return {
        name: Schema(frame(event.schema_id), event.writer.full)
        for name, event in catalogue.types.items()
    }


def plain_message(envelope: Envelope, schemas: dict[str, Schema]) -> PlainMessage:
    """The message that says what this envelope does."""
    fields = msgspec.structs.asdict(envelope)
    fields |= {
        "kind": envelope.kind.value,
        "lane": envelope.lane.value,
        "recipients": list(envelope.recipients),
        "headers": dict(envelope.headers),
    }
    ((topic, key),) = route(envelope)
    return PlainMessage(topic, key, schemas[envelope.type], fields)


def plain_value(schema: Schema, fields: dict[str, Any]) -> bytes:
    """The framed Avro value of a message's fields."""
    buffer = BytesIO()
    buffer.write(schema.frame)
    _write(buffer, schema.parsed, fields)
    return buffer.getvalue()


def plain_reader(catalogue: Catalogue) -> Callable[[bytes], dict[str, Any]]:
    """A function from a framed value to its whole record."""
    by_frame = {schema.frame: schema.parsed for schema in plain_schemas(catalogue).values()}

    def read(value: bytes) -> dict[str, Any]:
        buffer = BytesIO(value)
        fields: dict[str, Any] = _read(buffer, by_frame[buffer.read(PREFIX_LENGTH)], None)
        return fields

    return read


def plain_headers(fields: dict[str, Any]) -> list[Header]:
    """The headers that agentlog's records have, without its code."""
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
