"""What a watch says of a record is what becomes of it when it is decoded under both schemas."""

from __future__ import annotations

import copy
import struct
from collections.abc import Iterator
from io import BytesIO
from random import Random
from typing import Any, NamedTuple

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.reviewing.sites import Happening, Shown, Unreadable
from consumers.reviewing.watch import Watch, watch_of
from streams.schemas.compatibility import InvalidSchema, parse_schema
from streams.schemas.decoder import BAD_BYTES
from tests.schemas import pairs as schemas
from tests.schemas.avro import written
from tests.schemas.compatibility.data import Data

ENVELOPE = b"\x04ab"
"""What stands before a payload here: the id `ab`."""
VALUES = 4
RULINGS = ("type to read it as", "in no branch", "by name and alias")
"""Why a watch fails where fastavro reads on."""
CHANGED, DEFAULTED, FAILED = Happening.VALUE_CHANGED, Happening.DEFAULTED, Happening.FAILED
SUBSTITUTED, LOSSY = Happening.ENUM_SUBSTITUTED, Happening.LOSSY_PROMOTION
APPEARED, MENDED = Happening.APPEARED, Happening.MENDED


class Seen(NamedTuple):
    """What a watch says of one record."""

    fails: str
    happens: dict[tuple[Happening, str], Shown]

    def paths(self, happening: Happening) -> set[str]:
        return {path for what, path in self.happens if what is happening}


def watch(writer: Any, today: Any, candidate: Any) -> Watch:
    """As reviews make it: who has the writer's schema reads without resolution."""
    envelope = {
        "type": "record",
        "name": "Envelope",
        "fields": [{"name": "id", "type": "string"}, {"name": "payload", "type": writer}],
    }
    readers = [None if one == writer else parse_schema(one) for one in (today, candidate)]
    return watch_of(parse_schema(envelope, released=True), "payload", *readers)


def seen(made: Watch, body: bytes) -> Seen:
    hits: list[tuple[int, Any]] = []
    try:
        made.walk(ENVELOPE + body, 0, hits.append)
    except Unreadable as error:
        site = made.sites[error.site]
        return Seen(str(error), {(site.happening, site.path): Shown("", "")})
    found = [(made.sites[n], raw) for n, raw in (*((n, None) for n in made.always), *hits)]
    return Seen("", {(site.happening, site.path): site.show(raw) for site, raw in found})


def record(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": "R", **more, "fields": list(fields)}


def field(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **more}


def enum(*symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def logical(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "logicalType": name, **more}


MILLIS, MICROS = logical("long", "timestamp-millis"), logical("long", "timestamp-micros")
CENTS = logical("bytes", "decimal", precision=9, scale=2)
MILLS = logical("bytes", "decimal", precision=9, scale=3)
TREE = record(field("n", "long"), field("next", ["null", "R"]))


@pytest.mark.parametrize(
    ("types", "value", "expected"),
    [
        (("long", "long", "long"), 5, {}),
        (("int", "int", "long"), 5, {}),
        (("long", "long", "double"), 2**53, {}),
        (
            ("long", "long", "double"),
            2**53 + 1,
            {
                (LOSSY, "$.f"): ("9007199254740993", "9007199254740992.0"),
                (CHANGED, "$.f"): ("9007199254740993", "9007199254740992.0"),
            },
        ),
        (("long", "double", "double"), 2**53 + 1, {(LOSSY, "$.f"): ("9007199254740992.0",) * 2}),
        (
            (MILLIS, MILLIS, MICROS),
            1_700_000_000_000,
            {(CHANGED, "$.f"): ("2023-11-14T22:13:20Z", "1970-01-20T16:13:20Z")},
        ),
        ((MILLIS, MILLIS, MICROS), 0, {}),
        ((MILLIS, MILLIS, "long"), 5, {}),
        ((CENTS, CENTS, MILLS), b"\x05", {(CHANGED, "$.f"): ("0.05", "0.005")}),
        ((CENTS, CENTS, MILLS), b"\x00", {}),
        (
            (CENTS, CENTS, MILLS),
            (10**40 + 1).to_bytes(18, "big"),
            {
                (CHANGED, "$.f"): (
                    "100000000000000000000000000000000000000.01",
                    "10000000000000000000000000000000000000.001",
                )
            },
        ),
        (("string", "string", "bytes"), "text", {}),
        (("bytes", "bytes", "string"), b"text", {}),
        (
            (enum("A", "B"), enum("A", "B"), enum("A", default="A")),
            "B",
            {(SUBSTITUTED, "$.f"): ("B", "A"), (CHANGED, "$.f"): ("B", "A")},
        ),
        ((enum("A", "B"), enum("A", default="A"), enum("A", "B")), "B", {(CHANGED, "$.f"): "AB"}),
        ((enum("A", "B"), enum("A"), enum("A", "B")), "B", {(MENDED, "$.f"): "–B"}),
        ((["null", "long"], ["null", "long"], ["null", "string"]), None, {}),
        (
            (["null", "long"], ["null", "long"], ["null", "double", "long"]),
            2**53 + 1,
            {
                (LOSSY, "$.f|long→double"): ("9007199254740993", "9007199254740992.0"),
                (CHANGED, "$.f|long→double"): ("9007199254740993", "9007199254740992.0"),
            },
        ),
    ],
)
def test_one_value_is_read_by_two(
    types: tuple[Any, Any, Any], value: Any, expected: dict[Any, Any]
) -> None:
    """Writer's, today's and the candidate's type; what happens and what each reader has."""
    made = [record(field("f", one)) for one in types]
    plain = schemas_without_logical_types(made[0])
    found = seen(watch(*made), written(fastavro.parse_schema(plain), {"f": value}))
    assert not found.fails
    assert found.happens == {key: tuple(shown) for key, shown in expected.items()}


@pytest.mark.parametrize(
    ("types", "value", "why"),
    [
        (("bytes", "bytes", "string"), b"\xff", "not UTF-8"),
        ((["null", "long"],) * 2 + (["null", "string"],), 5, "in no branch"),
        (((enum("A", "B"),) * 2) + (enum("A"),), "B", "no symbol"),
        (("long", "long", "int"), 5, "no type to read it as"),
    ],
)
def test_what_the_candidate_cannot_read_fails(types: Any, value: Any, why: str) -> None:
    made = [record(field("f", one)) for one in types]
    found = seen(watch(*made), written(fastavro.parse_schema(made[0]), {"f": value}))
    assert why in found.fails
    assert found.paths(FAILED)


@pytest.mark.parametrize(
    ("writer", "today", "candidate", "value", "expected"),
    [
        (record(), record(), record(field("b", "int", default=3)), {}, {(DEFAULTED, "$.b")}),
        (
            record(),
            record(field("b", "int", default=3)),
            record(field("b", "int", default=4)),
            {},
            {(DEFAULTED, "$.b"), (CHANGED, "$.b")},
        ),
        (
            record(field("a", "int")),
            record(field("b", "int", aliases=["a"])),
            record(field("b", "int", default=0)),
            {"a": 7},
            {(DEFAULTED, "$.b"), (CHANGED, "$.b")},
        ),
        (
            record(field("a", "int")),
            record(),
            record(field("b", "int", aliases=["a"])),
            {"a": 7},
            {(APPEARED, "$.b")},
        ),
        (
            record(field("s", "int")),
            record(field("s", "int"), field("ms", "int", default=0)),
            record(field("ms", "int", aliases=["s"])),
            {"s": 7},
            {(CHANGED, "$.ms")},
        ),
        (record(), record(field("b", "int")), record(), {}, {(MENDED, "$")}),
        (
            TREE,
            TREE,
            {**TREE, "fields": [*TREE["fields"], field("x", "int", default=0)]},
            {"n": 1, "next": {"n": 2, "next": None}},
            {(DEFAULTED, "$.x"), (DEFAULTED, "$.next|R.x")},
        ),
    ],
    ids=["added", "default", "alias removed", "again", "taken over", "mended", "in itself"],
)
def test_fields_come_and_go(
    writer: Any, today: Any, candidate: Any, value: Any, expected: set[Any]
) -> None:
    """What no single type tells: fields that one reader has from elsewhere than the other."""
    found = seen(watch(writer, today, candidate), written(fastavro.parse_schema(writer), value))
    assert not found.fails
    assert set(found.happens) == expected


def test_a_default_that_was_released_and_is_no_value_is_shown_as_it_stands() -> None:
    """Beside one that is: that as it would have been read."""
    envelope = record(field("id", "string"), field("payload", record()), name="Envelope")
    readers = (record(field("b", "bytes", default=one)) for one in (5, "\xff"))
    written_, *parsed = (parse_schema(one, released=True) for one in (envelope, *readers))
    found = seen(watch_of(written_, "payload", *parsed), b"")
    assert found.happens[CHANGED, "$.b"] == Shown("5", repr(b"\xff"))


def test_bytes_that_nobody_wrote_are_refused() -> None:
    """Cut short, too long, a symbol or a branch that there is not, text that is none."""
    schema = record(
        field("f", ["null", enum("A"), "string"]), field("g", {"type": "array", "items": "null"})
    )
    made = watch(schema, schema, {**schema, "doc": "Another."})
    for body in (b"", b"\x00", b"\x00\x00\x00", b"\x02\x02\x00", b"\x06\x00", b"\x04\x02\xff\x00"):
        with pytest.raises(BAD_BYTES):
            made.walk(ENVELOPE + body, 0, print)
    with pytest.raises(BAD_BYTES):
        made.walk(ENVELOPE + b"\x00\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", 0, print)
    made.walk(ENVELOPE + b"\x00\x04\x00", 0, print)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32))
def test_it_says_what_decoding_under_both_schemas_says(seed: int) -> None:
    """Of random schemas, changed once or twice up to today and then once more, and random values.

    fastavro is the judge of what is read. It takes an enum or a fixed for a record of the same name
    and an empty union for none, either of two fields that one takes by name and alias, and stumbles
    over names that are two things: where it reads what does not match, the watch says so.
    """
    random = Random(seed)
    writer = today = schemas.schema_of(random)
    for _ in range(random.randint(0, 2)):
        today = schemas._changed(random, today)
    candidate = today
    for _ in range(random.randint(1, 3)):
        candidate = schemas._changed(random, candidate)
    three = [_comparable(one) for one in (writer, today, candidate)]
    try:
        made, data = watch(*three), Data(parse_schema(three[0], released=True), random)
        w, t, c = (fastavro.parse_schema(copy.deepcopy(one), _force=True) for one in three)
    except (InvalidSchema, fastavro.schema.SchemaParseException):
        return
    for _ in range(0 if data.is_endless else VALUES):
        raw = data.value()
        found, before, after = seen(made, raw), _read(raw, w, t), _read(raw, w, c)
        if isinstance(after, _Stumbled) or isinstance(before, _Stumbled):
            continue
        if isinstance(after, Exception):
            assert found.fails, after
        elif found.fails:
            assert any(why in found.fails for why in RULINGS), found.fails
        elif isinstance(before, Exception):
            assert found.paths(MENDED), before
        elif not found.paths(MENDED):
            different = list(_differences(before, after))
            assert bool(different) <= bool(found.paths(CHANGED)), (different, found)
            assert different or all(_is_deep(path) for path in found.paths(CHANGED)), found


class _Stumbled(Exception):
    """fastavro's own trouble, of which a schema is no cause."""


def _read(raw: bytes, writer: Any, reader: Any) -> Any:
    try:
        return fastavro.schemaless_reader(BytesIO(raw), writer, reader)
    except KeyError as error:
        if error.args[0] in {"fields", "symbols", "size"}:
            return _Stumbled()
        return error
    except TypeError:
        return _Stumbled()
    except Exception as error:  # noqa: BLE001 - whatever it says, it cannot read it
        return error


def _differences(a: Any, b: Any) -> Iterator[tuple[Any, Any]]:
    """Of fields that both have."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in a.keys() & b.keys():
            yield from _differences(a[name], b[name])
    elif isinstance(a, list) and isinstance(b, list):
        for one, two in zip(a, b, strict=True):
            yield from _differences(one, two)
    elif _as_bytes(a) != _as_bytes(b):
        yield a, b


def _as_bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _is_deep(path: str) -> bool:
    """A map is a dict here, too, and two maps with other keys have no field in common; nor have
    values under a field that has another name since.
    """
    return path != "$"


def _comparable(schema: Any) -> Any:
    """Without what fastavro takes for something else than the specification does: logical types
    are the writer's there, `float` is not rounded, aliases of types are compared as they stand.
    """
    if isinstance(schema, list):
        return [_comparable(branch) for branch in schema]
    if not isinstance(schema, dict):
        return "double" if schema == "float" else schema
    named = schema.get("type") in ("record", "enum", "fixed")
    dropped = {"logicalType", "precision", "scale"} | ({"aliases"} if named else set())
    found = {key: value for key, value in schema.items() if key not in dropped}
    for key in ("type", "items", "values"):
        if key in found:
            found[key] = _comparable(found[key])
    if "fields" in found:
        found["fields"] = [_comparable(one) for one in found["fields"]]
    return found


def schemas_without_logical_types(schema: Any) -> Any:
    """As bytes and numbers are written."""
    if isinstance(schema, list):
        return [schemas_without_logical_types(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: one for key, one in schema.items() if key != "logicalType"}
    return {
        key: schemas_without_logical_types(one) if key in {"type", "items", "fields"} else one
        for key, one in kept.items()
    }


def test_a_float_holds_less_than_a_long() -> None:
    """fastavro does not round; the specification's float does."""
    made = watch(*(record(field("f", one)) for one in ("long", "long", "float")))
    body = written(fastavro.parse_schema(record(field("f", "long"))), {"f": 2**24 + 1})
    assert seen(made, body).happens[LOSSY, "$.f"][1] == repr(
        struct.unpack("<f", struct.pack("<f", 2**24 + 1))[0]
    )
