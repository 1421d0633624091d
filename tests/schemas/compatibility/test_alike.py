"""Two schemas are alike if a reader heeds nothing in which they differ."""

from __future__ import annotations

from typing import Any

import pytest

from streams.schemas.compatibility import parse_schema
from streams.schemas.compatibility.alike import is_alike
from tests.schemas.compatibility.cases import array, enum, field, fixed, logical, map_, one, record

SAME: list[tuple[str, Any, Any]] = [
    ("docs", record("R", doc="Old."), record("R", doc="New.")),
    ("a field's doc", one("int"), one("int", doc="New.")),
    ("sort order", one("int"), one("int", order="ignore")),
    ("attributes that nobody knows", one("int"), one({"type": "int", "unit": "ms"}, owner="a")),
    ("the spelling of names", record("a.R"), record("R", namespace="a")),
    ("an error that is a record", record("R"), {**record("R"), "type": "error"}),
    (
        "docs inside of a recursion",
        record("R", field("next", ["null", array(map_("R"))]), field("f", fixed("F", 2))),
        record("R", field("next", ["null", array(map_("R"))]), field("f", fixed("F", 2, doc="F."))),
    ),
]
OTHER: list[tuple[str, Any, Any]] = [
    ("a type", one("int"), one("long")),
    ("a kind", one(array("int")), one(map_("int"))),
    ("a name", record("a.R"), record("b.R")),
    ("an alias of a type", record("R"), record("R", aliases=["S"])),
    ("an alias of a field", one("int"), one("int", aliases=["g"])),
    ("a default", one("int", default=1), one("int", default=2)),
    ("no default", one(["null"], default=None), one(["null"])),
    (
        "a doc that is data",
        one(map_("string"), default={"doc": "a"}),
        one(map_("string"), default={}),
    ),
    (
        "the order of fields",
        record("R", field("a", "int"), field("b", "int")),
        record("R", field("b", "int"), field("a", "int")),
    ),
    ("a field less", record("R", field("a", "int")), record("R")),
    ("the order of branches", one(["int", "null"]), one(["null", "int"])),
    ("a branch more", one(["null"]), one(["null", "int"])),
    ("a symbol", enum("E", "A"), enum("E", "A", "B")),
    ("an enum's default", enum("E", "A"), enum("E", "A", default="A")),
    ("a size", fixed("F", 1), fixed("F", 2)),
    ("a logical type", logical("int", "date"), "int"),
    ("a logical type of a fixed", fixed("F", 12), fixed("F", 12, logicalType="duration")),
]


@pytest.mark.parametrize(
    ("first", "second"), [row[1:] for row in SAME], ids=[row[0] for row in SAME]
)
def test_what_means_nothing_makes_no_difference(first: Any, second: Any) -> None:
    """Whichever of the two reads."""
    assert is_alike(parse_schema(first), parse_schema(second))
    assert is_alike(parse_schema(second), parse_schema(first))


@pytest.mark.parametrize(
    ("first", "second"), [row[1:] for row in OTHER], ids=[row[0] for row in OTHER]
)
def test_what_a_reader_may_heed_does(first: Any, second: Any) -> None:
    """Whichever of the two reads, and wherever in the schema it stands."""
    for wrapped in (lambda it: it, array, lambda it: ["null", it]):
        written, wanted = (parse_schema(wrapped(it)) for it in (first, second))
        assert not is_alike(written, wanted)
        assert not is_alike(wanted, written)
