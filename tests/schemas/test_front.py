"""Envelopes read straight from the bytes: what fastavro reads of the writer's front."""

from __future__ import annotations

import copy
from io import BytesIO
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.envelope import Envelope, Kind, Lane
from streams.errors import DecodeError
from streams.schemas import Catalogue, Codec, StoredPayload, WriterSchema, frame
from streams.schemas.framing import SCHEMA_ID_HEADER
from streams.schemas.writer_schema import composite
from tests.golden import golden_envelope
from tests.schemas.avro import INT, LONG, TEXT, Typed, damaged, read, typed, written

CATALOGUE = Catalogue.load()
CODEC = Codec(CATALOGUE)
EVENTS = sorted(CATALOGUE.types.values(), key=lambda event: event.name)
FIELDS: list[dict[str, Any]] = EVENTS[0].writer.schema["fields"][:-1]
NOTE = {"type": "record", "name": "Note", "fields": [{"name": "text", "type": "string"}]}

_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from([kind.value for kind in Kind]),
    "lane": st.sampled_from([lane.value for lane in Lane]),
    "recipients": st.lists(TEXT, max_size=70),
    "headers": st.dictionaries(TEXT, TEXT, max_size=4),
    "created_at": LONG,
    "ttl_ms": LONG,
    "priority": INT,
    "retry_count": INT,
    "requires_ack": st.booleans(),
    **dict.fromkeys(["stream_version", "expected_version", "writer_epoch"], st.none() | LONG),
    **dict.fromkeys(["id", "type", "sender"], TEXT),
}
ROWS = st.fixed_dictionaries(
    {field["name"]: _VALUES.get(field["name"], st.none() | TEXT) for field in FIELDS}
)
"""Fields of an envelope, as they stand in a value; bounds are not kept."""


def reference(writer: WriterSchema, body: bytes) -> Envelope:
    """What fastavro reads of the front, made an envelope the long way; `payload` is its bytes."""
    buffer = BytesIO(body)
    fields: Any = fastavro.schemaless_reader(buffer, writer.prefix, None)
    kinds, lanes = {kind.value for kind in Kind}, {lane.value for lane in Lane}
    kind, lane = fields.get("kind"), fields.get("lane")
    fields["kind"] = Kind(kind) if kind in kinds else Kind.UNKNOWN
    fields["lane"] = Lane(lane) if lane in lanes else Lane.DATA
    fields["recipients"] = tuple(fields.get("recipients", ()))
    fields["payload"] = body[buffer.tell() :]
    known = Envelope.__struct_fields__
    return Envelope(**{name: value for name, value in fields.items() if name in known})


def front(codec: Codec, value: bytes) -> Envelope:
    """What the codec reads, with the payload's bytes for the payload."""
    found = codec.decode(value)
    assert isinstance(found.payload, StoredPayload)
    return found.with_(payload=found.payload.raw)


class _Topic:
    """A schema source that knows one schema, as id 7."""

    def __init__(self, schema: Any) -> None:
        self.writer = WriterSchema(7, schema)

    def writer_schema(self, schema_id: int) -> str | None:
        return self.writer.text if schema_id == 7 else None


@settings(max_examples=200, deadline=None)
@given(row=ROWS, event=st.sampled_from(EVENTS))
def test_every_envelope_reads_as_fastavro_reads_it(row: dict[str, Any], event: Any) -> None:
    """All built-in types, any values: times stay integers, an absent field is None."""
    payload = dict(golden_envelope(event.name, event.kind).payload)
    raw = written(event.writer.payload, payload)
    body = written(event.writer.prefix, row) + raw
    value = frame(event.writer.id, body)
    assert repr(front(CODEC, value)) == repr(reference(event.writer, body))
    assert repr(CODEC.decode(value).payload) == repr(read(event.writer.payload, raw))


@settings(max_examples=400, deadline=None)
@given(data=st.data(), row=ROWS)
def test_a_damaged_front_is_refused_where_fastavro_refuses_it(
    data: st.DataObject, row: dict[str, Any]
) -> None:
    """With `DecodeError` and nothing else; else the same envelope, and the same rest."""
    writer = EVENTS[0].writer
    body = data.draw(damaged(written(writer.prefix, row)))
    try:
        ours = front(CODEC, frame(writer.id, body))
    except DecodeError as error:
        # What fastavro takes for a place from the end of a list, or shifts beyond 64 bits.
        if "symbol -" in str(error) or "branch -" in str(error) or "10 bytes" in str(error):
            return
        with pytest.raises(Exception, match=r".*"):
            reference(writer, body)
        return
    assert repr(ours) == repr(reference(writer, body))


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(),
    row=ROWS,
    names=st.sets(st.sampled_from([field["name"] for field in FIELDS])),
    others=st.lists(typed(1), max_size=3),
)
def test_any_writers_front_reads(
    data: st.DataObject, row: dict[str, Any], names: set[str], others: list[Typed]
) -> None:
    """Fields that the writer lacks get our defaults; fields that we lack, of any type, go."""
    fields = [field for field in FIELDS if field["name"] in names | {"type"}]
    for n, (schema, _) in enumerate(others):
        fields.insert(data.draw(st.integers(0, len(fields))), {"name": f"x{n}", "type": schema})
    topic = _Topic(composite({"fields": fields}, NOTE))
    more = {f"x{n}": data.draw(values) for n, (_, values) in enumerate(others)}
    body = written(topic.writer.prefix, row | more) + b"\x04hi"
    value = frame(7, body)
    found = Codec(CATALOGUE, [topic])
    assert repr(front(found, value)) == repr(reference(topic.writer, body))
    assert found.decode(value).payload == {"text": "hi"}


@pytest.mark.parametrize(
    ("symbol", "kind"), [("dream", Kind.UNKNOWN), ("request", Kind.REQUEST), ("k0", Kind.UNKNOWN)]
)
def test_a_kind_that_only_a_newer_writer_knows_reads_as_unknown(symbol: str, kind: Kind) -> None:
    """Its symbols may come in another order, and there may be many."""
    fields = copy.deepcopy(FIELDS)
    fields[1]["type"]["symbols"] = [*(f"k{n}" for n in range(100)), "dream", "request", "unknown"]
    topic = _Topic(composite({"fields": fields}, NOTE))
    row = dict.fromkeys(topic.writer.prefix_names) | {
        "id": "i", "kind": symbol, "type": "Note", "sender": "s", "recipients": [],
        "created_at": 1, "ttl_ms": 0, "priority": 3, "requires_ack": False, "retry_count": 0,
        "lane": "data", "headers": {},
    }  # fmt: skip
    body = written(topic.writer.prefix, row) + b"\x04hi"
    assert Codec(CATALOGUE, [topic]).decode(frame(7, body)).kind is kind


@pytest.mark.parametrize(
    "fields",
    [
        [{"name": "id", "type": "string"}],  # no `type`
        [{"name": "type", "type": "string"}, {"name": "recipients", "type": "null"}],
        [
            {"name": "type", "type": "string"},
            {"name": "kind", "type": {"type": "array", "items": "int"}},
        ],
    ],
)
def test_a_front_that_makes_no_envelope_is_refused(fields: list[dict[str, Any]]) -> None:
    """A schema that somebody else put on the log is no reason to fail otherwise."""
    codec = Codec(CATALOGUE, [_Topic(composite({"fields": fields}, NOTE))])
    with pytest.raises(DecodeError, match="schema id 7"):
        codec.decode(frame(7, b"\x02a\x02\x02\x00\x00\x00"))


@pytest.mark.parametrize("payload", ["string", {"type": "record"}, ["null", NOTE], 5])
def test_a_payload_that_is_no_record_is_refused(payload: Any) -> None:
    """An envelope without a payload type routes nowhere."""
    schema = {
        "type": "record",
        "name": "E",
        "fields": [FIELDS[2], {"name": "payload", "type": payload}],
    }
    with pytest.raises(DecodeError, match="schema id 7 is not an envelope's"):
        Codec(CATALOGUE, [_Topic(schema)]).decode(frame(7, b"\x02a\x00"))


@pytest.mark.parametrize("kind", ["no-such-type", {"type": "enum", "name": "E"}, 5, {}])
def test_a_schema_that_is_not_avro_is_refused(kind: Any) -> None:
    """By whoever needs it: a payload's schema does not keep the envelope from being read."""
    bad_front = Codec(
        CATALOGUE, [_Topic(composite({"fields": [{"name": "x", "type": kind}]}, NOTE))]
    )
    with pytest.raises(DecodeError, match="not valid Avro"):
        bad_front.decode(frame(7, b"\x02a"))
    payload = {"type": "record", "name": "P", "fields": [{"name": "x", "type": kind}]}
    bad_payload = Codec(CATALOGUE, [_Topic(composite({"fields": FIELDS[2:3]}, payload))])
    found = bad_payload.decode(frame(7, b"\x02a\x00"))
    assert found.type == "a"
    with pytest.raises(DecodeError, match="not valid Avro"):
        len(found.payload)


def test_each_envelope_has_headers_of_its_own() -> None:
    """Two envelopes of the same bytes share no dict."""
    event = EVENTS[0]
    value = CODEC.encode(golden_envelope(event.name, event.kind).with_(headers={}))
    first, second = CODEC.decode(value), CODEC.decode(value)
    assert first.headers == second.headers == {}
    assert first.headers is not second.headers


@pytest.mark.parametrize("framed", [b"", b"\x00\x01", None])
def test_a_header_without_an_id_is_refused(framed: bytes | None) -> None:
    """A header may say which schema wrote a value; one that says nothing is an error."""
    value = CODEC.encode(golden_envelope(EVENTS[0].name, EVENTS[0].kind))
    with pytest.raises(DecodeError, match="at least 5"):
        CODEC.decode(value[5:], [(SCHEMA_ID_HEADER, framed)])  # type: ignore[list-item]


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: raw + b"\x00"])
def test_an_older_version_is_held_to_its_bytes_too(damage: Any) -> None:
    """Read as today's version says, but only from bytes that the older schema wrote."""
    (older,) = (
        writer
        for schema_id in CATALOGUE.schema_ids
        if (writer := CATALOGUE.by_id(schema_id)) is not None
        and writer.payload_name == "agentlog.journal.OutcomesRecorded"
        and writer.id != CATALOGUE.type(writer.payload_name).writer.id
    )
    payload = dict(golden_envelope("agentlog.journal.OutcomesRecorded", Kind.EVENT).payload)
    row = {"id": "i", "kind": "event", "type": older.payload_name, "sender": "s", "created_at": 1}
    raw = written(older.payload, payload)
    assert isinstance(CODEC.decode(frame(older.id, written(older.prefix, row) + raw)), Envelope)
    whole = CODEC.decode(frame(older.id, written(older.prefix, row) + raw))
    assert whole.payload == payload | {"delivery": whole.payload["delivery"]}
    with pytest.raises(DecodeError, match=r"missing|left over|too early"):
        len(CODEC.decode(frame(older.id, written(older.prefix, row) + damage(raw))).payload)
