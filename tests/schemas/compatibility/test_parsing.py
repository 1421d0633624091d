"""What is no schema is refused with its place; what is only unusual is not."""

from __future__ import annotations

import math
from typing import Any

import pytest

from streams.schemas.compatibility import InvalidSchema, compare, parse_schema, parse_text
from tests.schemas.compatibility.cases import array, enum, field, fixed, one, record

NESTED = record("S", field("a", "int"), field("b", "int", default=0))
INVALID = [
    ("a type that is not defined", one("Nowhere"), "$.fields[0].type", "'Nowhere' is not defined"),
    (
        "a name used before it is defined",
        record("R", field("a", "S"), field("b", record("S"))),
        "$.fields[0].type",
        "or only further down",
    ),
    (
        "a type defined twice",
        record("R", field("a", record("S")), field("b", record("S"))),
        "$.fields[1].type.name",
        "defined twice",
    ),
    ("its own name again", one(enum("R", "A")), "$.fields[0].type.name", "defined twice"),
    (
        "two fields of one name",
        record("R", field("a", "int"), field("a", "int")),
        "$.fields[1].name",
        "two fields named 'a'",
    ),
    ("a symbol twice", enum("E", "A", "A"), "$.symbols[1]", "there twice"),
    ("a branch twice", one(["int", "int"]), "$.fields[0].type[1]", "int twice"),
    ("two arrays in a union", [array("int"), array("string")], "$[1]", "array twice"),
    ("a union in a union", one([["null"]]), "$.fields[0].type[0]", "inside a union"),
    ("a field's name", record("R", field("a-b", "int")), "$.fields[0].name", "'a-b' is no name"),
    ("a type's name", record("1R"), "$.name", "no name"),
    ("a namespace", record("R", namespace="a..b"), "$.name", "no name"),
    ("a symbol's name", enum("E", "a b"), "$.symbols[0]", "no name"),
    ("a type called like a primitive", record("a.int"), "$.name", "primitive type"),
    ("a record without a name", {"type": "record", "fields": []}, "$", "no name"),
    ("a record without fields", {"type": "record", "name": "R"}, "$.fields", "an array"),
    ("a field without a type", record("R", {"name": "a"}), "$.fields[0]", "has no type"),
    ("a field without a name", record("R", {"type": "int"}), "$.fields[0]", "with a name"),
    ("an order", one("int", order="up"), "$.fields[0].order", "one of ascending"),
    ("aliases that are no list", record("R", aliases="Old"), "$.aliases", "array of strings"),
    ("a field's aliases", one("int", aliases="old"), "$.fields[0].aliases", "array of strings"),
    ("a size", fixed("F", -1), "$.size", "number of bytes"),
    ("an array without items", {"type": "array"}, "$", "no 'items'"),
    ("an object without a type", {"name": "R"}, "$", "has no type"),
    ("a schema in the place of a type's name", {"type": {"type": "int"}}, "$.type", "in quotes"),
    ("a number", one(7), "$.fields[0].type", "7 is no schema"),
    ("an enum's default that is null", enum("E", "A", default=None), "$.default", "None is no sym"),
    ("aliases that are null", record("R", aliases=None), "$.aliases", "array of strings"),
    ("a field's that are", one("int", aliases=None), "$.fields[0].aliases", "array of strings"),
    ("an order that is null", one("int", order=None), "$.fields[0].order", "one of ascending"),
    ("a namespace that is no text", record("R", namespace=7), "$.namespace", "is a string"),
    (
        "a name in an object",
        record("n.R", field("a", enum("E", "A")), field("b", ["null", {"type": "E"}])),
        "$.fields[1].type[1]",
        "write 'E' here",
    ),
    ("an enum's default", enum("E", "A", default="B"), "$.default", "'B' is no symbol"),
    ("the default of an int", one("int", default="0"), "$.fields[0].default", "'0' is no int"),
    ("an int that is too large", one("int", default=2**31), "$.fields[0].default", "no int"),
    ("a long that is too large", one("long", default=2**63), "$.fields[0].default", "no long"),
    ("a fraction for a long", one("long", default=1.0), "$.fields[0].default", "1.0 is no long"),
    ("true for an int", one("int", default=True), "$.fields[0].default", "True is no int"),
    ("null for a string", one("string", default=None), "$.fields[0].default", "no string"),
    ("text for a double", one("double", default="1"), "$.fields[0].default", "no double"),
    ("bytes above 255", one("bytes", default="\u0100"), "$.fields[0].default", "no bytes"),
    ("a fixed of another size", one(fixed("F", 2), default="a"), "$.fields[0].default", "2 bytes"),
    (
        "a symbol that is none",
        one(enum("E", "A"), default="B"),
        "$.fields[0].default",
        "'B' is no symbol",
    ),
    (
        "an item of an array",
        one(array("int"), default=[1, "2"]),
        "$.fields[0].default",
        "[1]: '2' is no int",
    ),
    (
        "a field of a record",
        one(NESTED, default={"a": "x"}),
        "$.fields[0].default",
        ".a: 'x' is no int",
    ),
    (
        "a record without its field",
        one(NESTED, default={"b": 1}),
        "$.fields[0].default",
        ".a: is missing",
    ),
    ("more than a double", one("double", default=10**400), "$.fields[0].default", "no double"),
    ("more than a float", one("float", default=1e39), "$.fields[0].default", "no float"),
    ("infinity", one("double", default=math.inf), "$.fields[0].default", "inf is no double"),
    ("a default in itself", one("R", default={}), "$.fields[0].default", "has no end"),
    (
        "a default in itself, by way of another",
        one(["null", record("S", field("r", array("R"), default=[{}]))], default={}),
        "$.fields[0].type[1].fields[0].default",
        "has no end",
    ),
    (
        "no branch of a union",
        one(["null", "int"], default="x"),
        "$.fields[0].default",
        "null: 'x' is no null; int: 'x' is no int",
    ),
]
VALID = [
    ("a default of the second branch", one(["null", "int"], default=1)),
    ("a default of any branch", one(["int", "string", "null"], default=None)),
    ("a whole number for a double", one("double", default=1)),
    ("bytes", one("bytes", default="\u00ff\u0000")),
    ("the largest float", one("float", default=3.4028234663852886e38)),
    (
        "a default that holds its own type, and ends",
        one(["null", record("S", field("s", ["null", "S"], default=None))], default={"s": {}}),
    ),
    ("the ends of an int", one("int", default=-(2**31))),
    ("a record that fills in from its own defaults", one(NESTED, default={"a": 1})),
    (
        "a default of a type that holds itself",
        record("R", field("next", ["null", "R"], default=None)),
    ),
    ("type names that are free", record("array", field("x", record("union")))),
    ("an alias that is no name", record("R", aliases=["old-name"])),
    ("a logical type that nobody knows", {"type": "int", "logicalType": "age"}),
    ("an empty union", one([])),
    ("a namespace that is null is none", record("R", namespace=None)),
    (
        "inside, too",
        record("n.R", field("a", enum("E", "A", namespace=None)), field("b", "n.E")),
    ),
    ("a doc that is null", record("R", field("a", "int", doc=None), doc=None)),
    ("a logical type that is null", one({"type": "int", "logicalType": None})),
]


@pytest.mark.parametrize(
    ("schema", "path", "problem"), [row[1:] for row in INVALID], ids=[row[0] for row in INVALID]
)
def test_what_is_no_schema_is_refused_with_its_place(schema: Any, path: str, problem: str) -> None:
    """The path leads to what is wrong, and the sentence says what."""
    with pytest.raises(InvalidSchema) as refused:
        parse_schema(schema)
    assert refused.value.path == path
    assert problem in refused.value.problem
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("schema", [row[1] for row in VALID], ids=[row[0] for row in VALID])
def test_what_is_only_unusual_is_a_schema(schema: Any) -> None:
    """Such a schema reads itself, without a word."""
    assert compare(schema, schema).findings == ()


def test_a_released_version_may_have_names_and_defaults_that_are_none() -> None:
    """Records of it are on the log: an alias and a right default mend it, in the reader."""
    old = parse_schema(record("R", field("a-b", "int", default="x")), released=True)
    new = record("R", field("a_b", "int", aliases=["a-b"], default=0))
    assert compare(old, new).compatible


def test_a_released_version_may_be_spelled_as_only_some_parsers_take_it() -> None:
    """As Java's did: a default symbol that is null is none, an object with a name is the type."""
    kind = enum("E", "A", "B", default=None)
    old = parse_schema(record("R", field("a", kind), field("b", {"type": "E"})), released=True)
    new = parse_schema(record("R", field("a", enum("E", "A", "B")), field("b", "E")))
    assert compare(old, new).findings == compare(new, old).findings == ()


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"type": "record",\n "name" "R"}', "R.avsc:2:9: $: not JSON: Expecting ':' delimiter"),
        ('{"type": "fixed", "name": "F",\n  "size": -1}', "R.avsc:2:11: $.size: "),
        ('{"type": "fixed",\n  "name": "F"}', "R.avsc:1:1: $.size: "),
        (
            '{"type": "record", "name": "R", "fields": [\n'
            '  {"name": "a", "type": "int"},\n'
            '  {"name": "b", "type": ["null", "Nope"]}\n]}',
            "R.avsc:3:34: $.fields[1].type[1]: ",
        ),
        ('{"type": "int", "n": NaN}', "R.avsc:1:1: $: not JSON: NaN is no JSON number"),
        ("[" * 100_000, "R.avsc:1:1: $: nested deeper than 100"),
        ('{"type":"array","items":' * 101 + '"int"' + "}" * 101, "nested deeper than 100"),
    ],
)
def test_what_stands_in_a_file_is_refused_with_line_and_column(text: str, where: str) -> None:
    """Broken JSON where it breaks; a schema that is none where the wrong value begins."""
    with pytest.raises(InvalidSchema) as refused:
        parse_text(text, "R.avsc")
    assert where in str(refused.value)


def test_a_path_that_is_too_long_to_read_is_cut_in_the_middle() -> None:
    """Where it begins and where it ends, and how much is left out; line and column are whole."""
    text = '{"type":"array","items":' * 101 + '"int"' + "}" * 101
    with pytest.raises(InvalidSchema) as refused:
        parse_text(text, "R.avsc")
    ends = ".items" * 10
    assert refused.value.path == f"${ends} … 80 more … {ends}"
    column = len('{"type":"array","items":') * 100 + 1
    assert str(refused.value).startswith(f"R.avsc:1:{column}: $.items")
    assert len(str(refused.value)) < 250
    schema: Any = "Nope"
    for depth in range(10):
        schema = record(f"R{depth}", field("f", schema))
    with pytest.raises(InvalidSchema) as refused:
        parse_schema(schema)
    assert refused.value.path == "$" + ".fields[0].type" * 10


def nested(depth: int, value: Any) -> dict[str, Any]:
    """A record that holds itself, with a default that does so this often."""
    for _ in range(depth):
        value = {"f": value}
    return one(["null", "R"], default=value)


def test_a_default_is_nested_as_deep_as_a_schema_may_be() -> None:
    """A deeper one is refused with its place."""
    assert parse_schema(nested(100, None)).named
    with pytest.raises(InvalidSchema, match="nested deeper than 100") as refused:
        parse_schema(nested(101, None))
    assert refused.value.path == "$.fields[0].default"


def test_a_default_that_is_long_is_told_by_its_ends() -> None:
    """The sentence stays one that can be read."""
    for schema in (nested(99, 7), one("int", default="x" * 10_000)):
        with pytest.raises(InvalidSchema) as refused:
            parse_schema(schema)
        assert len(str(refused.value)) < 550
        assert " … " in str(refused.value)
