"""What one writes without agentlog: a dict per message, fastavro, headers by hand.

The baselines start from the dict that fastavro wants, with topic and key at hand: whatever it
takes to get that far is not counted against them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from benchmarks.wire import Header, Schema, Schemas, wire_headers, wire_reader, wire_value
from streams.envelope import Envelope
from streams.schemas import Catalogue
from streams.schemas.framing import frame
from streams.topics.routing import route


class PlainMessage(NamedTuple):
    """One message, ready to be encoded and sent."""

    topic: str
    """Logical name."""
    key: bytes
    schema: Schema
    fields: dict[str, Any]

    def value(self) -> bytes:
        """The framed Avro value."""
        return wire_value(self.schema, self.fields)

    def headers(self) -> list[Header]:
        """Its Kafka headers."""
        return wire_headers(self.fields)


def plain_schemas(catalogue: Catalogue) -> dict[str, Schema]:
    """By payload type."""
    return {
        name: Schema(frame(event.schema_id), event.writer.full)
        for name, event in catalogue.types.items()
    }


def save_schemas(catalogue: Catalogue, path: Path) -> None:
    """The same, written down for another process (`benchmarks.wire.load_schemas`)."""
    schemas = {
        name: (frame(event.schema_id), event.writer.schema)
        for name, event in catalogue.types.items()
    }
    path.write_bytes(msgspec.json.encode(schemas))


def plain_message(envelope: Envelope, schemas: Schemas) -> PlainMessage:
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


def plain_reader(catalogue: Catalogue) -> Callable[[bytes], dict[str, Any]]:
    """A function from a framed value to its whole record."""
    return wire_reader(plain_schemas(catalogue))
