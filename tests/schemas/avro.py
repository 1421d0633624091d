"""Random schemas with values of theirs, and what fastavro makes of bytes."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

import fastavro
from hypothesis import strategies as st

TEXT: Final = st.text(st.characters(exclude_categories=["Cs"]), max_size=90)
INT: Final = st.integers(-(2**31), 2**31 - 1)
LONG: Final = INT | st.integers(-(2**63), 2**63 - 1)
# The years 1 to 9999, which are Python's.
MICROS: Final = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)

_PRIMITIVES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": INT,
    "long": LONG,
    "float": st.floats(width=32),
    "double": st.floats(),
    "bytes": st.binary(max_size=90),
    "string": TEXT,
}

Typed = tuple[Any, st.SearchStrategy[Any]]
"""A schema, and its values as fastavro writes them."""


def written(schema: Any, value: Any) -> bytes:
    """The value as fastavro writes it."""
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, schema, value)
    return buffer.getvalue()


def read(schema: Any, raw: bytes) -> Any:
    """What fastavro reads, if it reads all of the bytes."""
    buffer = BytesIO(raw)
    value = fastavro.schemaless_reader(buffer, schema, None)
    if buffer.tell() != len(raw):
        raise ValueError("bytes are left over")
    return value


def outcome(step: Callable[[], Any]) -> tuple[str, str]:
    """`("value", its text)`, which tells 1 from True and one NaN from none, or `("error", why)`."""
    try:
        return "value", repr(step())
    except Exception as error:  # noqa: BLE001 - whatever a reader raises is its outcome
        return "error", str(error)


@st.composite
def typed(draw: st.DrawFn, depth: int = 0) -> Typed:
    """A schema of any type that Avro has, with its values."""
    kinds = [*_PRIMITIVES, "enum", "fixed", "time"]
    if depth < 3:
        kinds += ["record", "record", "array", "map", "optional", "union"]
    kind = draw(st.sampled_from(kinds))
    name = f"N{draw(st.uuids()).hex}"
    match kind:
        case "enum":
            symbols = [f"s{n}" for n in range(draw(st.sampled_from([1, 3, 64, 65, 200])))]
            return {"type": "enum", "name": name, "symbols": symbols}, st.sampled_from(symbols)
        case "fixed":
            size = draw(st.integers(0, 20))
            schema = {"type": "fixed", "name": name, "size": size}
            return schema, st.binary(min_size=size, max_size=size)
        case "time":
            return {"type": "long", "logicalType": "timestamp-micros"}, MICROS
        case "record":
            return _record(name, draw(st.lists(typed(depth + 1), max_size=4)))
        case "array":
            items, values = draw(typed(depth + 1))
            return {"type": "array", "items": items}, st.lists(values, max_size=5)
        case "map":
            held, values = draw(typed(depth + 1))
            return {"type": "map", "values": held}, st.dictionaries(TEXT, values, max_size=4)
        case "optional":
            other, values = draw(typed(depth + 1).filter(lambda it: not _nullable(it[0])))
            return ["null", other], st.none() | values
        case "union":
            branches = draw(st.permutations(["null", "boolean", "long", "string", "bytes"]))
            return branches, st.one_of([_PRIMITIVES[branch] for branch in branches])
        case _:
            return draw(st.sampled_from([kind, {"type": kind}])), _PRIMITIVES[kind]


def records() -> st.SearchStrategy[Typed]:
    """Records of any fields."""
    return st.lists(typed(1), max_size=6).map(lambda fields: _record("Root", fields))


@st.composite
def damaged(draw: st.DrawFn, raw: bytes) -> bytes:
    """The bytes cut short, with some overwritten, or with some put in between."""
    found = bytearray(raw[: draw(st.integers(0, len(raw)))] if draw(st.booleans()) else raw)
    at = st.integers(0, max(len(found) - 1, 0))
    byte = st.sampled_from([0, 1, 2, 3, 4, 0x7F, 0x80, 0x81, 0xFF]) | st.integers(0, 255)
    for place, new in draw(st.lists(st.tuples(at, byte), max_size=4)):
        found[place : place + 1] = bytes([new])
    if draw(st.booleans()):
        place = draw(at)
        found[place:place] = draw(st.binary(max_size=12))
    return bytes(found)


def _record(name: str, fields: list[Typed]) -> Typed:
    schema = {
        "type": "record",
        "name": name,
        "fields": [{"name": f"f{n}", "type": schema} for n, (schema, _) in enumerate(fields)],
    }
    return schema, st.fixed_dictionaries({f"f{n}": it for n, (_, it) in enumerate(fields)})


def _nullable(schema: Any) -> bool:
    kind = schema.get("type") if isinstance(schema, dict) else schema
    return isinstance(kind, list) or kind == "null"
