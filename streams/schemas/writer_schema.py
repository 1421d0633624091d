"""Writer schemas: what one schema id stands for, prepared for encoding and decoding.

Each event type has one Avro record on the wire: the envelope's fields, then `payload`, last. So a
value's front decodes with the writer schema cut off before `payload`, and the rest is the payload
alone. Times in the front stay integers (microseconds): the cut-off schema drops logical types.
"""

from __future__ import annotations

import copy
import hashlib
import json
from functools import cached_property
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException

from streams.errors import DecodeError
from streams.schemas.compatibility.names import full_name, namespace_within
from streams.schemas.decoder import Decoder, decoder_of
from streams.schemas.encoder import Encoder, attributes_encoder_of, encoder_of
from streams.schemas.front import Front, front_of
from streams.schemas.shape import shape_of
from streams.schemas.spelling import in_full

PAYLOAD_FIELD = "payload"
# What fastavro raises on a schema that is none.
_BAD_SCHEMA = (SchemaParseException, ValueError, LookupError, TypeError, AttributeError)

Schema = Any
"""A schema as JSON: dict, list or str."""


def composite(envelope: dict[str, Any], payload: dict[str, Any]) -> dict[str, Any]:
    """The writer schema of a payload type: the envelope's fields, then `payload`."""
    return {
        "type": "record",
        "name": f"{payload['name']}Envelope",
        "namespace": payload.get("namespace", ""),
        "doc": f"{payload.get('doc', '')} In its envelope.".strip(),
        "fields": [
            *copy.deepcopy(envelope["fields"]),
            {"name": PAYLOAD_FIELD, "type": payload, "doc": "What this type of event says."},
        ],
    }


def canonical_text(schema: Schema) -> str:
    """The schema's JSON without white space, in the order it was written."""
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False)


def fingerprint(schema: Schema) -> str:
    """SHA-256 of the whole schema, docs, defaults and logical types included.

    Avro's canonical form strips those, so it cannot tell two versions apart.
    """
    text = json.dumps(schema, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class WriterSchema:
    """One schema id's schema, parsed once, when first needed."""

    def __init__(self, schema_id: int, schema: dict[str, Any]) -> None:
        fields = schema.get("fields")
        if not fields or fields[-1].get("name") != PAYLOAD_FIELD:
            raise DecodeError(
                f"schema id {schema_id} is not an envelope's: its last field is not `payload`"
            )
        self.id = schema_id
        self.schema = schema

    @classmethod
    def from_text(cls, schema_id: int, text: str) -> WriterSchema:
        """From the JSON text a registry or the `schemas` topic holds."""
        try:
            schema = json.loads(text)
        except ValueError as error:
            raise DecodeError(f"schema id {schema_id} is not JSON: {error}") from error
        if not isinstance(schema, dict):
            raise DecodeError(f"schema id {schema_id} is not a record")
        return cls(schema_id, schema)

    @cached_property
    def text(self) -> str:
        """JSON text, as registered."""
        return canonical_text(self.schema)

    @cached_property
    def payload_name(self) -> str:
        """Full name of the payload's record."""
        payload = self.schema["fields"][-1]["type"]
        name: str = payload["name"]
        return full_name(name, namespace_within(payload, self.schema.get("namespace") or ""))

    @cached_property
    def full(self) -> Schema:
        """The whole record, parsed."""
        return _parsed(self.schema)

    @cached_property
    def prefix(self) -> Schema:
        """The record cut off before `payload`, parsed, without logical types."""
        return _parsed({**self.schema, "fields": _plain(self.schema["fields"][:-1])})

    @cached_property
    def prefix_shape(self) -> Any | None:
        """What msgspec checks the envelope's own fields against."""
        return shape_of(self.prefix)

    @cached_property
    def prefix_encoder(self) -> Encoder | None:
        """Encodes the envelope's own fields, from an envelope; None where only fastavro can."""
        return attributes_encoder_of(self.prefix)

    @cached_property
    def front(self) -> Front:
        """Decodes the envelope's own fields, and leaves the payload to its decoder."""
        return front_of(self.prefix)

    @cached_property
    def prefix_names(self) -> frozenset[str]:
        """Names of the envelope fields that this writer wrote."""
        return frozenset(field["name"] for field in self.schema["fields"][:-1])

    @cached_property
    def payload_shape(self) -> Any | None:
        """What msgspec checks a payload against; None where the slow walk must."""
        return shape_of(self.payload)

    @cached_property
    def payload_encoder(self) -> Encoder | None:
        """Encodes a payload; None where only fastavro can."""
        return encoder_of(self.payload)

    @cached_property
    def payload(self) -> Schema:
        """The payload's record alone, parsed."""
        return _parsed(self.schema["fields"][-1]["type"])

    @cached_property
    def payload_decoder(self) -> Decoder:
        """Decodes the payload alone, as this writer wrote it."""
        return decoder_of(self.payload)


def _parsed(schema: Schema) -> Schema:
    try:
        return fastavro.parse_schema(copy.deepcopy(in_full(schema)), _force=True)
    except _BAD_SCHEMA as error:
        raise DecodeError(f"a schema is not valid Avro: {error}") from error


def _plain(schema: Schema) -> Schema:
    if isinstance(schema, list):
        return [_plain(branch) for branch in schema]
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    return schema
