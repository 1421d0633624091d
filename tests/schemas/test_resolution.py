"""Resolution reads what is called compatible, and a default as if it had been written."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Any

import fastavro
import pytest
from hypothesis import assume, given, settings

from streams.schemas.compatibility import FindingKind, compare, parse_schema
from streams.schemas.decoder import Decoder
from streams.schemas.resolution import resolving
from tests.schemas.avro import written
from tests.schemas.compatibility.cases import (
    array,
    decimal,
    enum,
    field,
    fixed,
    logical,
    map_,
    one,
    record,
)
from tests.schemas.compatibility.data import Data
from tests.schemas.pairs import Pair, pairs

S = record("S", field("x", "int"))
NEW = record("S", field("x", "int", default=3), field("b", "bytes", default="\u00ff"))


def reading(writer: Any, reader: Any) -> Decoder:
    return resolving(*(fastavro.parse_schema(schema, _force=True) for schema in (writer, reader)))


@pytest.mark.parametrize(
    ("writer", "reader", "value", "read"),
    [
        pytest.param(
            one([S, record("b.S")]),
            one([S, record("b.S", doc="New.")]),
            {"f": ("b.S", {})},
            {"f": {}},
            id="other docs, where of two records with one unqualified name the first matches",
        ),
        pytest.param(
            record("R", field("g", S)),
            record("R", field("k", ["null", S], default=None), field("g", ["null", "S"])),
            {"g": {"x": 2}},
            {"g": {"x": 2}, "k": None},
            id="the reader's union names what the writer defines there",
        ),
        pytest.param(
            record("R", field("q", S), field("g", "S")),
            record("R", field("g", ["null", S])),
            {"q": {"x": 1}, "g": {"x": 2}},
            {"g": {"x": 2}},
            id="the reader's union defines what the writer names there",
        ),
        pytest.param(
            record("R", field("g", array(enum("E", "X")))),
            record("R", field("k", enum("E", "X"), default="X"), field("g", array(["null", "E"]))),
            {"g": ["X"]},
            {"g": ["X"], "k": "X"},
            id="a name in an array",
        ),
        pytest.param(
            record("b.R", field("next", ["null", "b.R"]), field("x", "int")),
            record(
                "a.R",
                field("next", ["null", "a.R"]),
                field("x", "double"),
                field("y", S, default={"x": 1}),
            ),
            {"next": {"next": None, "x": 1}, "x": 2},
            {"next": {"next": None, "x": 1.0, "y": {"x": 1}}, "x": 2.0, "y": {"x": 1}},
            id="a type in itself",
        ),
        pytest.param(
            record("R", field("f", ["null", S])),
            record("R", field("f", ["null", enum("other.S", "X"), NEW])),
            {"f": {"x": 1}},
            {"f": {"x": 1, "b": b"\xff"}},
            id="a namesake of another kind comes first",
        ),
        pytest.param(
            record("R", field("f", ["null", record("a.Old", field("x", "int"))])),
            record("R", field("f", ["null", {**NEW, "name": "a.S", "aliases": ["Old"]}])),
            {"f": {"x": 1}},
            {"f": {"x": 1, "b": b"\xff"}},
            id="a short alias",
        ),
        pytest.param(
            record("R", field("f", record("Old", field("x", "int")))),
            record("R", field("f", {**NEW, "name": "b.S", "aliases": [".Old"]})),
            {"f": {"x": 1}},
            {"f": {"x": 1, "b": b"\xff"}},
            id="an alias in the null namespace",
        ),
    ],
)
def test_a_name_is_the_type_that_it_names(writer: Any, reader: Any, value: Any, read: Any) -> None:
    """Wherever a type is defined and wherever only named, on both sides."""
    assert compare(writer, reader).compatible
    assert reading(writer, reader)(written(writer, value), 0) == read


@pytest.mark.parametrize(
    ("type_", "default", "value"),
    [
        ("bytes", "\u00ff", b"\xff"),
        (fixed("F", 2), "\u00ff\u0000", b"\xff\0"),
        (decimal(4, 2), "\u0001", Decimal("0.01")),
        (logical("long", "timestamp-micros"), 0, datetime(1970, 1, 1, tzinfo=UTC)),
        (logical("int", "date"), 1, date(1970, 1, 2)),
        ("long", -(2**63), -(2**63)),
        ("double", 1, 1.0),
        ("boolean", True, True),
        ("string", "é", "é"),
        (enum("E", "A", "B"), "B", "B"),
        (["null", "bytes"], "\u00ff", b"\xff"),
        (["bytes", "null"], None, None),
        (array("bytes"), ["a", "\u00ff"], [b"a", b"\xff"]),
        (map_(array("int")), {"k": [1], "l": []}, {"k": [1], "l": []}),
        (NEW, {}, {"x": 3, "b": b"\xff"}),
        (NEW, {"x": 1}, {"x": 1, "b": b"\xff"}),
    ],
    ids=str,
)
def test_a_default_is_a_value_of_its_type(type_: Any, default: Any, value: Any) -> None:
    """As a record would have it that had been written with it."""
    read = reading(record("R"), one(type_, default=default))(b"", 0)
    assert read == {"f": value}
    assert type(read["f"]) is type(value)


def test_a_default_of_a_type_that_is_only_named() -> None:
    """It is found in the schema around it."""
    reader = record("R", field("a", NEW), field("f", array("S"), default=[{}]))
    read = reading(record("R", field("a", S)), reader)
    assert read(b"\x02", 0) == {"a": {"x": 1, "b": b"\xff"}, "f": [{"x": 3, "b": b"\xff"}]}


def test_each_record_has_defaults_of_its_own() -> None:
    """What a handler does to one payload, no other one sees."""
    read = reading(record("R"), one(array(map_("int")), default=[{}]))
    first = read(b"", 0)
    first["f"][0]["k"] = 1
    first["f"].append({})
    assert read(b"", 0) == {"f": [{}]}


@pytest.mark.parametrize(
    ("type_", "default"), [(array("int"), ["x"]), ("string", "\ud800"), ("float", 1e300), ("R", {})]
)
def test_a_default_that_is_no_value_stays_as_it_is(type_: Any, default: Any) -> None:
    """It was released so, and a record that needs it can still be read."""
    assert reading(record("R"), one(type_, default=default))(b"", 0) == {"f": default}


@settings(deadline=None)
@given(pairs())
def test_what_is_called_compatible_is_read(pair: Pair) -> None:
    """All of it, but where aliases break the specification's rule, as the finding says."""
    writer, reader = (record("Whole", field("it", schema)) for schema in pair)
    report = compare(writer, reader)
    assume(report.compatible)
    assume(all(finding.kind is not FindingKind.ALIAS_AMBIGUOUS for finding in report.findings))
    data = Data(parse_schema(writer), Random(0))
    assume(not data.is_endless)
    read = reading(writer, reader)
    for _ in range(4):
        read(data.value(), 0)
