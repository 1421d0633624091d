"""Generated decoders: what fastavro reads, they read; what no writer wrote, they refuse."""

from __future__ import annotations

import re
from typing import Any

import fastavro
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streams.schemas import Catalogue
from streams.schemas.decoder import BAD_BYTES, Decoder, decoder_of
from streams.schemas.varints import ITEMS_OF_NOTHING_MAX
from tests.golden import golden_envelope
from tests.schemas.avro import Typed, damaged, outcome, read, records, typed, written

EVENTS = sorted(Catalogue.load().types.values(), key=lambda event: event.name)
# fastavro shifts on beyond 64 bits, and takes a negative place from the end of a list.
REFUSED_HERE_ALONE = re.compile(
    r"a number has more than 10 bytes|(branch|symbol) -\d+ of \d+|\d+ items that take no bytes"
)
LINKED = {
    "type": "record",
    "name": "Link",
    "fields": [{"name": "n", "type": "int"}, {"name": "next", "type": ["null", "Link"]}],
}


def agree(schema: Any, decode: Decoder, raw: bytes) -> None:
    """Both read equal values or both refuse, but for what the module's docstring excepts."""
    ours = outcome(lambda: decode(raw, 0))
    theirs = outcome(lambda: read(schema, raw))
    if ours[0] == "error" and REFUSED_HERE_ALONE.search(ours[1]):
        return
    assert ours[0] == theirs[0], (ours, theirs)
    assert ours[0] == "error" or ours == theirs


def one(kind: Any) -> Any:
    """A parsed record of one field."""
    fields = [{"name": "it", "type": kind}]
    return fastavro.parse_schema({"type": "record", "name": "One", "fields": fields})


@settings(max_examples=300, deadline=None)
@given(data=st.data(), made=records() | typed())
def test_every_value_reads_as_fastavro_reads_it(data: st.DataObject, made: Typed) -> None:
    """Whatever the schema: all types of Avro, nested and mixed."""
    schema = fastavro.parse_schema(made[0])
    raw = written(schema, data.draw(made[1]))
    assert repr(decoder_of(schema)(b"five." + raw, 5)) == repr(read(schema, raw))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), made=records())
def test_damaged_bytes_are_refused_where_fastavro_refuses_them(
    data: st.DataObject, made: Typed
) -> None:
    """Cut short, overwritten or with bytes between: never a value that fastavro does not read."""
    schema = fastavro.parse_schema(made[0])
    if not all(_takes_bytes(field["type"]) for field in made[0]["fields"]):
        return  # a count of 2⁴⁰ nulls keeps fastavro busy for days
    agree(schema, decoder_of(schema), data.draw(damaged(written(schema, data.draw(made[1])))))


def _takes_bytes(schema: Any) -> bool:
    """Whether no array in here has items that may take no bytes."""
    if isinstance(schema, list):
        return all(map(_takes_bytes, schema))
    if not isinstance(schema, dict):
        return True
    if schema["type"] == "array":
        return schema["items"] in ("string", "long", "int", "boolean", "double", "bytes", "float")
    inner = [field["type"] for field in schema.get("fields", ())]
    return all(map(_takes_bytes, [*inner, schema.get("values", "null")]))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
def test_damaged_payloads_of_the_built_in_types(event: Any) -> None:
    """Every cut, and every byte set to each of the values that mean something in Avro."""
    schema, decode = event.writer.payload, event.writer.payload_decoder
    raw = written(schema, dict(golden_envelope(event.name, event.kind).payload))
    agree(schema, decode, raw)
    agree(schema, decode, raw + b"\x00")
    for n in range(len(raw)):
        agree(schema, decode, raw[:n])
        for byte in (0, 1, 2, 3, 4, 0x7F, 0x80, 0xC3, 0xFF):
            agree(schema, decode, raw[:n] + bytes([byte]) + raw[n + 1 :])


@pytest.mark.parametrize(
    ("kind", "body", "value"),
    [
        ({"type": "array", "items": "int"}, b"\x02\x0a\x02\x0c\x00", [5, 6]),  # two blocks
        ({"type": "array", "items": "int"}, b"\x03\x04\x0a\x0c\x00", [5, 6]),  # with its size
        ({"type": "array", "items": "int"}, b"\x80\x00", []),  # a count in two bytes
        ({"type": "map", "values": "int"}, b"\x01\x06\x02a\x0a\x00", {"a": 5}),
        (["null", "int"], b"\x82\x00\x0a", 5),  # a branch in two bytes
        (["null", "int"], b"\x80\x00", None),
        ("string", b"\x82\x00a", "a"),
        ("long", b"\xff" * 9 + b"\x01", -(2**63)),
        ("long", b"\xfe" + b"\xff" * 8 + b"\x01", 2**63 - 1),
        ("boolean", b"\x07", True),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_a_writer_may_write_otherwise(kind: Any, body: bytes, value: Any) -> None:
    """Blocks with their size in bytes, several blocks, numbers longer than they need to be."""
    assert decoder_of(one(kind))(body, 0) == {"it": value}
    assert read(one(kind), body) == {"it": value}


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        ("string", b"\x01", "a length is -1"),
        ("bytes", b"\x09abcde", "a length is -5"),
        ("string", b"\x04a", "1 bytes are missing"),
        ("string", b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01a", "bytes are missing"),
        ("string", b"\x02\xff", "invalid start byte"),
        ("long", b"\x80" * 10 + b"\x00", "more than 10 bytes"),
        ("long", b"\x80", "out of range"),
        ("double", b"1234567", "buffer"),
        (["null", "int"], b"\x01", "branch -1 of 2"),
        (["null", "int"], b"\x04\x00", "branch 2 of 2"),
        (["int", "string", "null"], b"\x06", "branch 3 of 3"),
        ({"type": "enum", "name": "E", "symbols": ["a", "b"]}, b"\x04", "symbol 2 of 2"),
        ({"type": "enum", "name": "E", "symbols": ["a", "b"]}, b"\x01", "symbol -1 of 2"),
        ({"type": "array", "items": "string"}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "out"),
        ({"type": "array", "items": "int"}, b"\xff" * 9 + b"\x01\x00\x00", "out of range"),
        ({"type": "array", "items": "null"}, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", "no byt"),
        (
            {"type": "long", "logicalType": "timestamp-micros"},
            b"\xfe" + b"\xff" * 8 + b"\x01",
            "date value out of range",
        ),
        ("int", b"\x02\x02", "1 bytes are left over"),
    ],
)
def test_what_no_writer_writes_is_refused(kind: Any, body: bytes, why: str) -> None:
    """At once, and with what is wrong; a length or a count alone never takes memory or time."""
    with pytest.raises(BAD_BYTES, match=why):
        decoder_of(one(kind))(body, 0)


@pytest.mark.parametrize(
    "items",
    [
        "null",
        {"type": "record", "name": "Empty", "fields": []},
        {"type": "fixed", "name": "Nil", "size": 0},
        {"type": "record", "name": "R", "fields": [{"name": "n", "type": "null"}]},
    ],
)
def test_items_that_take_no_bytes_are_bounded(items: Any) -> None:
    """As many as the bound are read, in one block or in several; one more is refused."""
    schema = one({"type": "array", "items": items})
    decode, most = decoder_of(schema), ITEMS_OF_NOTHING_MAX
    assert len(decode(written("long", most) + b"\x00", 0)["it"]) == most
    for body in (written("long", most + 1), written("long", most) + b"\x02"):
        with pytest.raises(ValueError, match="take no bytes"):
            decode(body + b"\x00", 0)


@pytest.mark.parametrize("size", [-1, "2", None])
def test_a_fixed_without_a_size_has_no_decoder(size: Any) -> None:
    """A schema that would read backwards is refused before any bytes are."""
    with pytest.raises(ValueError, match="size of a `fixed`"):
        decoder_of({"type": "fixed", "name": "F", "size": size})


@given(numbers=st.lists(st.integers(-5, 5), min_size=1, max_size=60))
def test_a_type_may_hold_itself(numbers: list[int]) -> None:
    """A chain of records reads as fastavro reads it."""
    chain: dict[str, Any] | None = None
    for n in numbers:
        chain = {"n": n, "next": chain}
    schema = fastavro.parse_schema(LINKED)
    assert decoder_of(schema)(written(schema, chain), 0) == chain


def test_a_value_nested_beyond_reason_is_refused() -> None:
    """A chain of a million records costs an error, not the process."""
    with pytest.raises(RecursionError):
        decoder_of(fastavro.parse_schema(LINKED))(b"\x00\x02" * 1_000_000, 0)


@given(depth=st.integers(1, 40))
@example(depth=40)
@settings(deadline=None, max_examples=20)
def test_a_schema_may_be_nested_deeper_than_python_compiles(depth: int) -> None:
    """Arrays in arrays, maps and records in them: what is too deep has a function of its own."""
    schema: Any = "int"
    value: Any = 5
    for n in range(depth):
        inner = {"type": "record", "name": f"R{n}", "fields": [{"name": "x", "type": schema}]}
        schema = {"type": "array", "items": {"type": "map", "values": ["null", inner]}}
        value = [{"a": {"x": value}, "b": None}]
    parsed = fastavro.parse_schema(one(schema))
    assert decoder_of(parsed)(written(parsed, {"it": value}), 0) == {"it": value}


def test_a_type_may_be_named_again_anywhere() -> None:
    """Records, enums and fixed by their name; names that mean something in Python; aliases."""
    schema = fastavro.parse_schema(
        {
            "type": "record",
            "name": "class",
            "fields": [
                {"name": "i", "type": {"type": "enum", "name": "b", "symbols": ["None", "len"]}},
                {"name": "def", "type": {"type": "fixed", "name": "v0", "size": 2}},
                {"name": "v1", "type": {"type": "record", "name": "s", "fields": [
                    {"name": "import", "type": ["null", "b"]},
                ]}},
                {"name": "b", "type": {"type": "array", "items": "s"}},
                {"name": "n", "type": {"type": "map", "values": "v0"}},
                {"name": "decode", "type": ["string", "s", "null"]},
            ],
        }
    )  # fmt: skip
    value = {
        "i": "len",
        "def": b"ab",
        "v1": {"import": "None"},
        "b": [{"import": None}, {"import": "len"}],
        "n": {"x": b"cd"},
        "decode": {"import": "None"},
    }
    raw = written(schema, value)
    assert decoder_of(schema)(raw, 0) == read(schema, raw) == value


def test_logical_types_read_as_fastavro_reads_them() -> None:
    """Times, dates, decimals and ids are the same Python values."""
    kinds = [
        ("long", "timestamp-millis", b"\x82\x01"),
        ("long", "local-timestamp-micros", b"\x82\x01"),
        ("int", "date", b"\x82\x01"),
        ("int", "time-millis", b"\x82\x01"),
        ("long", "time-micros", b"\x82\x01"),
        ("string", "uuid", b"\x48" + b"0" * 8 + b"-0000-4000-8000-" + b"0" * 12),
        ("long", "unheard-of", b"\x82\x01"),
    ]
    for kind, logical, body in kinds:
        schema = one({"type": kind, "logicalType": logical})
        assert repr(decoder_of(schema)(body, 0)) == repr(read(schema, body))
    schema = one({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2})
    assert repr(decoder_of(schema)(b"\x04\x01\x02", 0)) == repr(read(schema, b"\x04\x01\x02"))
