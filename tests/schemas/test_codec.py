"""The codec refuses what does not fit, and reads whatever any version wrote."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.envelope import Envelope, Kind
from streams.errors import (
    DecodeError,
    InvalidEnvelope,
    InvalidPayload,
    UnknownSchema,
    UnknownType,
)
from streams.schemas import Catalogue, Codec, WriterSchema, frame
from streams.schemas.framing import SCHEMA_ID_HEADER
from streams.schemas.writer_schema import composite

CATALOGUE = Catalogue.load()
CODEC = Codec(CATALOGUE)
TASK = {"id": "t-1", "type": "review"}


def envelope(**changes: Any) -> Envelope:
    """A stamped task assignment."""
    fields: dict[str, Any] = {
        "type": "agentlog.task.AssignTask",
        "payload": {"task": TASK},
        "id": "msg-1376409446000-2tn3u9v7i",
        "kind": Kind.TASK_ASSIGNMENT,
        "sender": "agent-1",
        "created_at": 1_376_409_446_000_000,
    }
    return Envelope(**(fields | changes))


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ({"id": "t-1"}, "task.type"),
        (TASK | {"id": 1}, "task.id"),
        (TASK | {"priority": 1.5}, "task.priority"),
        (TASK | {"priority": True}, "task.priority"),
        (TASK | {"priority": 1 << 31}, "task.priority"),
        (TASK | {"dependencies": ["a", 2]}, "task.dependencies[1]"),
        (TASK | {"dependencies": "a"}, "task.dependencies"),
        (TASK | {"resources": {"timeout": "soon"}}, "task.resources.timeout"),
        (TASK | {"colour": "red"}, "task.colour"),
        (TASK | {"deadline": datetime(2026, 1, 1)}, "task.deadline"),  # noqa: DTZ001 (the case)
        (TASK | {"description": "\ud800"}, "task.description"),
        ("t-1", "task"),
    ],
)
def test_s3_04_a_payload_that_does_not_fit_names_the_path(task: Any, path: str) -> None:
    """Refused before anything is sent, with the field's path; nothing is truncated or dropped."""
    with pytest.raises(InvalidPayload) as refused:
        CODEC.encode(envelope(payload={"task": task}))
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("id", "msg-1-2"),
        ("sender", ""),
        ("priority", 0),
        ("priority", 6),
        ("priority", 2.5),
        ("ttl_ms", -1),
        ("ttl_ms", 1 << 63),
        ("created_at", 0),
        ("created_at", -1),
        ("created_at", datetime(2026, 1, 1, tzinfo=UTC)),
        ("id", 5),
        ("priority", "3"),
        ("priority", None),
        ("ttl_ms", None),
        ("retry_count", None),
        ("recipients", None),
        ("recipients", "agent-1"),
        ("headers.import_seq", {"import_seq": "first"}),
        ("retry_count", -1),
        ("recipients", ("",)),
        ("kind", "chitchat"),
        ("correlation_id", 3),
    ],
)
def test_an_envelope_field_out_of_bounds_is_named(field: str, value: Any) -> None:
    """Every routing field is checked before anything is sent."""
    with pytest.raises(InvalidEnvelope) as refused:
        CODEC.encode(envelope(**{field.partition(".")[0]: value}))
    assert refused.value.field == field


def test_an_unknown_type_suggests_the_nearest() -> None:
    """A typo in a type's name is answered with the name that was meant."""
    with pytest.raises(UnknownType, match=r"did you mean agentlog\.task\.AssignTask"):
        CODEC.encode(envelope(type="agentlog.task.AsignTask"))


def test_a_deadline_may_be_a_datetime() -> None:
    """An aware datetime goes in, the same instant comes out."""
    deadline = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
    value = CODEC.encode(envelope(payload={"task": TASK | {"deadline": deadline}}))
    assert CODEC.decode(value).payload["task"]["deadline"] == deadline


def test_the_id_may_travel_in_the_header() -> None:
    """The header form of the wire format reads as the value form does."""
    value = CODEC.encode(envelope())
    assert CODEC.decode(value[5:], [(SCHEMA_ID_HEADER, value[:5])]).id == envelope().id


def test_a_frame_of_a_known_schema_is_believed_before_a_header() -> None:
    """Whether another record of that schema was decoded before or not: what a record means does not
    depend on what was read. A frame that nobody knows leaves it to the header.
    """
    value = CODEC.encode(envelope())
    other = CODEC.encode(envelope(type="agentlog.Json", payload={"json": "{}"}))
    for codec in (CODEC, Codec(Catalogue.load())):
        assert codec.decode(value, [(SCHEMA_ID_HEADER, other[:5])]).type == envelope().type
    header = [(SCHEMA_ID_HEADER, value[:5])]
    with pytest.raises(DecodeError, match=f"value of schema id {int.from_bytes(value[1:5])}"):
        CODEC.decode(bytes(5) + value[5:], header)  # a body that begins with an empty id
    with pytest.raises(UnknownSchema):
        CODEC.decode(bytes(5) + value[5:])


@pytest.mark.parametrize(
    "value", [None, b"", b"\x00\x01", b"{}    ", b"\x01" + bytes(16), b"\x00\x40\x00\x00\x00"]
)
def test_s5_06_malformed_bytes_are_one_kind_of_error(value: bytes | None) -> None:
    """Whatever stands in a value, decoding answers with an envelope or with DecodeError."""
    with pytest.raises(DecodeError):
        CODEC.decode(value)


@given(cut=st.integers(0, 80), noise=st.binary(max_size=40))
def test_damaged_bytes_never_raise_anything_else(cut: int, noise: bytes) -> None:
    """A value that was cut short or overwritten decodes, or raises DecodeError."""
    value = CODEC.encode(envelope())
    try:
        found = CODEC.decode(value[: 5 + cut] + noise)
        assert dict(found.payload) is not None
    except DecodeError:
        pass


def test_bytes_left_over_are_an_error() -> None:
    """A payload followed by more is not what its schema wrote."""
    with pytest.raises(DecodeError, match="left over"):
        dict(CODEC.decode(CODEC.encode(envelope()) + b"x").payload)


def _written(envelope_fields: list[dict[str, Any]], payload: dict[str, Any]) -> dict[str, Any]:
    return composite({"fields": envelope_fields}, payload)


class _Topic:
    """A schema source that knows one schema."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema

    def writer_schema(self, schema_id: int) -> str | None:
        return json.dumps(self.schema) if schema_id == 7 else None


NOTE = {
    "type": "record",
    "name": "Note",
    "namespace": "users",
    "fields": [{"name": "text", "type": "string"}],
}


def test_a_type_nobody_here_knows_still_routes_and_reads() -> None:
    """An id that only the `schemas` topic knows decodes under its writer's schema."""
    fields = CATALOGUE.type("agentlog.Json").writer.schema["fields"][:-1]
    schema = _written(fields, NOTE)
    writer = WriterSchema(7, schema)
    value = CODEC.encode(envelope(type="agentlog.Json", payload={"json": "hi"}))
    # A Json and a Note have the same one field, so their bodies agree.
    framed = frame(7, value[5:])
    found = Codec(CATALOGUE, [_Topic(schema)]).decode(framed)
    assert (found.id, dict(found.payload)) == (envelope().id, {"text": "hi"})
    assert writer.payload_name == "users.Note"
    with pytest.raises(UnknownSchema, match="schema id 7"):
        CODEC.decode(framed)


def test_an_older_envelope_gets_our_defaults_and_a_newer_one_loses_what_we_lack() -> None:
    """Envelope fields come and go between versions; the rest of the envelope still reads."""
    names = {"id", "type", "sender", "created_at"}
    ours = CATALOGUE.type("agentlog.Json").writer.schema["fields"][:-1]
    old = [field for field in ours if field["name"] in names]
    new = [*old, {"name": "colour", "type": "string", "default": "red"}]
    for fields in (old, new):
        schema = _written(fields, NOTE)
        writer = WriterSchema(7, schema)
        row = {
            "id": envelope().id,
            "type": "users.Note",
            "sender": "a",
            "created_at": 5,
            "colour": "blue",
            "payload": {"text": "hi"},
        }
        found = Codec(CATALOGUE, [_Topic(schema)]).decode(_encode_row(writer, row))
        assert (found.sender, found.priority, found.kind) == ("a", 3, Kind.UNKNOWN)
        assert found.payload["text"] == "hi"


def _encode_row(writer: WriterSchema, row: dict[str, Any]) -> bytes:
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, writer.full, row)
    return frame(writer.id, buffer.getvalue())
