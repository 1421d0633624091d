"""The cases that people get wrong, one row each: writer, reader, verdict, reason, section.

Also what the differential test runs before anything that it makes up.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from streams.schemas.compatibility import FindingKind as K

RESOLUTION: Final = "Schema Resolution"
ALIASES: Final = "Aliases"
LOGICAL: Final = "Logical Types"
DECIMAL: Final = "Decimal"


class Case(NamedTuple):
    """A pair; whether the reader reads it all; the finding that says why, and where it is."""

    name: str
    writer: Any
    reader: Any
    compatible: bool
    kind: K | None
    path: str = "$"
    section: str = RESOLUTION


def field(name: str, type_: Any, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": type_, **more}


def record(name: str, *fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


def enum(name: str, *symbols: str, **more: Any) -> dict[str, Any]:
    return {"type": "enum", "name": name, "symbols": list(symbols), **more}


def fixed(name: str, size: int, **more: Any) -> dict[str, Any]:
    return {"type": "fixed", "name": name, "size": size, **more}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


def map_(values: Any) -> dict[str, Any]:
    return {"type": "map", "values": values}


def logical(type_: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": type_, "logicalType": name, **more}


def decimal(precision: int, scale: int) -> dict[str, Any]:
    return logical("bytes", "decimal", precision=precision, scale=scale)


def one(type_: Any, **more: Any) -> dict[str, Any]:
    """A record of one field, `f`."""
    return record("R", field("f", type_, **more))


def tree(value: str) -> dict[str, Any]:
    return record("Tree", field("value", value), field("children", array("Tree")))


def _node(space: str, leaf: Any, size: str) -> dict[str, Any]:
    return record(f"{space}.Node", field("leaf", leaf), field("size", size))


def _leaf(space: str) -> dict[str, Any]:
    return record(f"{space}.Leaf", field("node", ["null", f"{space}.Node"]))


def leaking() -> tuple[Any, Any]:
    """What is thought of a `Leaf` while the `Node` around it is unfinished must not count.

    `w.Node` meets `a.Node`, whose `a.Leaf` holds `a.Node` again, and fails at its size only after
    that; `b.Node` holds the same `a.Leaf`.
    """
    reader = [_node("a", _leaf("a"), "string"), _node("b", "a.Leaf", "int")]
    return _node("w", _leaf("w"), "int"), reader


def _harmless() -> tuple[Any, Any]:
    """The same reader, but the branch that fails is never chosen."""
    reader = [_node("b", _leaf("b"), "int"), _node("a", _leaf("a"), "string")]
    return _node("w", _leaf("w"), "int"), reader


def _through_unfinished() -> tuple[Any, Any]:
    """`B` is looked at while `A` is unfinished, in one field; and again in a later field."""
    writer = record(
        "A",
        field("b", record("B", field("a", ["null", "A"]))),
        field("x", "int"),
        field("again", ["null", "B"]),
    )
    reader = record(
        "A",
        field("b", record("B", field("a", ["null", "A"]))),
        field("x", "string"),
        field("again", ["null", "B"]),
    )
    return writer, reader


TOGGLED: Final = (
    record("R", field("a", "int")),
    record("R", field("a", "int"), field("b", "int", default=0)),
    record("R", field("a", "int"), field("b", "int")),
)
"""Three versions: a field came with a default, and then lost the default."""
_FIRST: Final = record("a.S", field("x", "int"))

CASES: Final = [
    # Primitive types and promotions.
    Case("same primitive", "int", "int", True, None),
    Case("primitive as an object", {"type": "int"}, "int", True, None),
    Case("int to long", "int", "long", True, K.PROMOTION),
    Case("int to float", "int", "float", True, K.LOSSY_PROMOTION),
    Case("int to double", "int", "double", True, K.PROMOTION),
    Case("long to float", "long", "float", True, K.LOSSY_PROMOTION),
    Case("long to double", one("long"), one("double"), True, K.LOSSY_PROMOTION, "$.f"),
    Case("float to double", "float", "double", True, K.PROMOTION),
    Case("string to bytes", "string", "bytes", True, K.LOSSY_PROMOTION),
    Case("bytes to string", one("bytes"), one("string"), True, K.LOSSY_PROMOTION, "$.f"),
    Case("long to int", one("long"), one("int"), False, K.TYPE_MISMATCH, "$.f"),
    Case("double to float", "double", "float", False, K.TYPE_MISMATCH),
    Case("float to long", "float", "long", False, K.TYPE_MISMATCH),
    Case("int to boolean", "int", "boolean", False, K.TYPE_MISMATCH),
    Case("string to int", "string", "int", False, K.TYPE_MISMATCH),
    Case("enum to string", one(enum("E", "A")), one("string"), False, K.TYPE_MISMATCH, "$.f"),
    Case("fixed to bytes", one(fixed("F", 2)), one("bytes"), False, K.TYPE_MISMATCH, "$.f"),
    Case("array to map", one(array("int")), one(map_("int")), False, K.TYPE_MISMATCH, "$.f"),
    Case("record to map", one(record("S")), one(map_("int")), False, K.TYPE_MISMATCH, "$.f"),
    # Arrays and maps.
    Case("array items promoted", array("int"), array("long"), True, K.PROMOTION, "$[]"),
    Case("array items", one(array("int")), one(array("string")), False, K.TYPE_MISMATCH, "$.f[]"),
    Case("map values", one(map_("long")), one(map_("int")), False, K.TYPE_MISMATCH, "$.f{}"),
    Case(
        "record in a map in an array",
        one(array(map_(record("S", field("x", "string"))))),
        one(array(map_(record("S", field("x", "long"))))),
        False,
        K.TYPE_MISMATCH,
        "$.f[]{}.x",
    ),
    # Fields.
    Case(
        "field removed",
        record("R", field("a", "int"), field("b", "int")),
        record("R", field("a", "int")),
        True,
        K.FIELD_IGNORED,
        "$.b",
    ),
    Case(
        "field added with default", record("R"), one("int", default=0), True, K.DEFAULT_USED, "$.f"
    ),
    Case(
        "field added with default null",
        record("R"),
        one(["null", "int"], default=None),
        True,
        K.DEFAULT_USED,
        "$.f",
    ),
    Case(
        "field added with a default that is not of the first branch",
        record("R"),
        one([record("S", field("x", "int")), "null"], default=None),
        True,
        K.UNION_CHOICE,
        "$.f",
    ),
    Case(
        "that of a later branch, which nobody takes for an earlier one",
        record("R"),
        one(["null", "boolean", "string"], default="x"),
        True,
        K.DEFAULT_USED,
        "$.f",
    ),
    Case("field added without default", record("R"), one("int"), False, K.MISSING_DEFAULT, "$.f"),
    Case(
        "nullable field added without default",
        record("R"),
        one(["null", "int"]),
        False,
        K.MISSING_DEFAULT,
        "$.f",
    ),
    Case(
        "fields in another order",
        record("R", field("a", "int"), field("b", "string")),
        record("R", field("b", "string"), field("a", "int")),
        True,
        K.FIELD_ORDER,
    ),
    Case("field made nullable", one("string"), one(["null", "string"]), True, None, "$.f"),
    Case(
        "nullable made required",
        one(["null", "string"]),
        one("string"),
        False,
        K.TYPE_MISMATCH,
        "$.f|null",
    ),
    Case(
        "field's type changed to a record",
        one("int"),
        one(record("S")),
        False,
        K.TYPE_MISMATCH,
        "$.f",
    ),
    Case(
        "docs only",
        one("int", doc="Old."),
        record("R", field("f", "int", doc="New."), doc="A record."),
        True,
        None,
    ),
    Case(
        "docs only, where of two records with one unqualified name the first would be taken",
        one([_FIRST, record("b.S")]),
        one([_FIRST, record("b.S", doc="New.")]),
        True,
        None,
    ),
    Case(
        "docs, orders and other attributes alone, where readers choose otherwise",
        one(["double", "int"], order="descending"),
        record("R", {"owner": "shop", "type": ["double", "int"], "doc": "New.", "name": "f"}),
        True,
        None,
    ),
    Case("default changed only", one("int", default=1), one("int", default=2), True, None),
    Case(
        "a default toggled over three versions: the second reads the first",
        *TOGGLED[:2],
        True,
        K.DEFAULT_USED,
        "$.b",
    ),
    Case("and the third reads the second", *TOGGLED[1:], True, None),
    Case(
        "but the third does not read the first",
        TOGGLED[0],
        TOGGLED[2],
        False,
        K.MISSING_DEFAULT,
        "$.b",
    ),
    Case("the first reads the third", TOGGLED[2], TOGGLED[0], True, K.FIELD_IGNORED, "$.b"),
    Case("sort order changed only", one("int"), one("int", order="descending"), True, None),
    Case("empty records", record("R"), record("R"), True, None),
    # Names.
    Case("record renamed", record("Old"), record("New"), False, K.NAME_MISMATCH),
    Case(
        "enum renamed", one(enum("Old", "A")), one(enum("New", "A")), False, K.NAME_MISMATCH, "$.f"
    ),
    Case(
        "fixed renamed", one(fixed("Old", 4)), one(fixed("New", 4)), False, K.NAME_MISMATCH, "$.f"
    ),
    Case(
        "record in another namespace",
        record("old.R", field("f", "int")),
        record("new.R", field("f", "int")),
        True,
        K.NAMESPACE_DIFFERS,
    ),
    Case(
        "namespace attribute moved",
        record("R", namespace="old"),
        record("R", namespace="new"),
        True,
        K.NAMESPACE_DIFFERS,
    ),
    Case("namespace lost", record("old.R"), record("R"), True, K.NAMESPACE_DIFFERS),
    Case(
        "enum in another namespace",
        one(enum("old.E", "A")),
        one(enum("new.E", "A")),
        True,
        K.NAMESPACE_DIFFERS,
        "$.f",
    ),
    Case(
        "enum in another namespace in a union",
        one(["null", enum("old.E", "A")]),
        one(["null", enum("new.E", "A")]),
        True,
        K.NAMESPACE_DIFFERS,
        "$.f|E",
    ),
    Case("name that differs in case", record("Rec"), record("rec"), False, K.NAME_MISMATCH),
    Case(
        "full name against namespace attribute",
        record("a.R"),
        record("R", namespace="a"),
        True,
        None,
    ),
    Case("dotted name, namespace ignored", record("a.R"), record("a.R", namespace="b"), True, None),
    Case(
        "inner name inherits the namespace",
        record("a.R", field("f", fixed("F", 1))),
        record("a.R", field("f", fixed("a.F", 1))),
        True,
        None,
    ),
    # Aliases.
    Case(
        "type alias", record("Old"), record("New", aliases=["Old"]), True, K.RENAMED, "$", ALIASES
    ),
    Case(
        "short alias inside a namespace",
        record("a.Old"),
        record("a.New", aliases=["Old"]),
        True,
        K.RENAMED,
        "$",
        ALIASES,
    ),
    Case(
        "short alias of another namespace",
        record("b.Old"),
        record("a.New", aliases=["Old"]),
        False,
        K.NAME_MISMATCH,
    ),
    Case(
        "full alias from another namespace",
        record("b.Old"),
        record("a.New", aliases=["b.Old"]),
        True,
        K.RENAMED,
        "$",
        ALIASES,
    ),
    Case(
        "namespace moved with an alias",
        record("b.R"),
        record("a.R", aliases=["b.R"]),
        True,
        K.RENAMED,
        "$",
        ALIASES,
    ),
    Case(
        "enum alias",
        one(enum("Old", "A")),
        one(enum("New", "A", aliases=["Old"])),
        True,
        K.RENAMED,
        "$.f",
        ALIASES,
    ),
    Case(
        "fixed alias",
        one(fixed("Old", 3)),
        one(fixed("New", 3, aliases=["Old"])),
        True,
        K.RENAMED,
        "$.f",
        ALIASES,
    ),
    Case(
        "type alias in a union",
        one(["null", record("Old")]),
        one(["null", record("New", aliases=["Old"])]),
        True,
        K.RENAMED,
        "$.f|Old→New",
        ALIASES,
    ),
    Case("alias removed", record("Old"), record("New", aliases=["Older"]), False, K.NAME_MISMATCH),
    Case(
        "writer's alias does not count",
        record("Old", aliases=["New"]),
        record("New"),
        False,
        K.NAME_MISMATCH,
    ),
    Case(
        "field alias",
        record("R", field("old", "int")),
        record("R", field("new", "int", aliases=["old"])),
        True,
        K.RENAMED,
        "$.new",
        ALIASES,
    ),
    Case(
        "field alias removed",
        record("R", field("old", "int")),
        record("R", field("new", "int")),
        False,
        K.MISSING_DEFAULT,
        "$.new",
    ),
    Case(
        "field alias to a type that does not match",
        record("R", field("old", "string")),
        record("R", field("new", "int", aliases=["old"])),
        False,
        K.TYPE_MISMATCH,
        "$.new",
    ),
    Case(
        "writer's field alias does not count",
        record("R", field("old", "int", aliases=["new"])),
        record("R", field("new", "int")),
        False,
        K.MISSING_DEFAULT,
        "$.new",
    ),
    Case(
        "field alias while the writer has both",
        record("R", field("old", "int"), field("new", "int")),
        record("R", field("new", "int", aliases=["old"])),
        False,
        K.ALIAS_CONFLICT,
        "$.new",
        ALIASES,
    ),
    Case(
        "field alias while the writer has both, the other order",
        record("R", field("new", "int"), field("old", "int")),
        record("R", field("new", "int", aliases=["old"])),
        False,
        K.ALIAS_CONFLICT,
        "$.new",
        ALIASES,
    ),
    Case(
        "two aliases of a field, and the writer has both",
        record("R", field("a", "int"), field("b", "int")),
        record("R", field("c", "int", aliases=["a", "b"])),
        False,
        K.ALIAS_CONFLICT,
        "$.c",
        ALIASES,
    ),
    Case(
        "loop of field aliases",
        record("R", field("a", "int"), field("b", "string")),
        record("R", field("a", "int", aliases=["b"]), field("b", "string", aliases=["a"])),
        True,
        K.ALIAS_AMBIGUOUS,
        "$.a",
        ALIASES,
    ),
    Case(
        "loop of type aliases",
        record("R", field("x", record("A", field("n", "int"))), field("y", record("B"))),
        record(
            "R",
            field("x", record("A", field("n", "int"), aliases=["B"])),
            field("y", record("B", aliases=["A"])),
        ),
        True,
        K.ALIAS_AMBIGUOUS,
        "$.x",
        ALIASES,
    ),
    Case(
        "aliases are followed once", record("A"), record("C", aliases=["B"]), False, K.NAME_MISMATCH
    ),
    Case(
        "its own name as an alias",
        record("R", field("f", "int")),
        record("R", field("f", "int", aliases=["f"]), aliases=["R"]),
        True,
        None,
    ),
    # Enums.
    Case("symbol added", one(enum("E", "A")), one(enum("E", "A", "B")), True, None),
    Case(
        "symbols in another order", one(enum("E", "A", "B")), one(enum("E", "B", "A")), True, None
    ),
    Case(
        "symbol removed",
        one(enum("E", "A", "B")),
        one(enum("E", "A")),
        False,
        K.MISSING_SYMBOLS,
        "$.f",
    ),
    Case(
        "symbol removed, the enum has a default",
        one(enum("E", "A", "B")),
        one(enum("E", "A", default="A")),
        True,
        K.SYMBOLS_DEFAULTED,
        "$.f",
    ),
    Case(
        "symbol removed, the field has a default",
        one(enum("E", "A", "B")),
        one(enum("E", "A"), default="A"),
        False,
        K.MISSING_SYMBOLS,
        "$.f",
    ),
    Case(
        "symbol removed, the writer has a default",
        one(enum("E", "A", "B", default="A")),
        one(enum("E", "A")),
        False,
        K.MISSING_SYMBOLS,
        "$.f",
    ),
    Case(
        "an enum's default fills no field",
        record("R"),
        one(enum("E", "A", default="A")),
        False,
        K.MISSING_DEFAULT,
        "$.f",
    ),
    # Fixed.
    Case("fixed size", one(fixed("F", 4)), one(fixed("F", 8)), False, K.FIXED_SIZE_MISMATCH, "$.f"),
    Case(
        "fixed size in a union",
        one(["null", fixed("F", 4)]),
        one(["null", fixed("F", 8)]),
        False,
        K.NO_UNION_BRANCH,
        "$.f|F",
    ),
    # Unions.
    Case("union widened", one(["null", "int"]), one(["null", "int", "string"]), True, None),
    Case("union in another order", one(["null", "int"]), one(["int", "null"]), True, None),
    Case(
        "union narrowed",
        one(["null", "int", "string"]),
        one(["null", "int"]),
        False,
        K.NO_UNION_BRANCH,
        "$.f|string",
    ),
    Case(
        "branch promoted",
        one(["null", "int"]),
        one(["null", "long"]),
        True,
        K.PROMOTION,
        "$.f|int→long",
    ),
    Case(
        "value to union, promoted",
        one("int"),
        one(["null", "double"]),
        True,
        K.PROMOTION,
        "$.f|double",
    ),
    Case(
        "value to union without it",
        one("boolean"),
        one(["null", "int"]),
        False,
        K.NO_UNION_BRANCH,
        "$.f",
    ),
    Case("union of one to its type", one(["int"]), one("int"), True, None),
    Case(
        "the first branch that matches is not the same type",
        one("int"),
        one(["double", "int"]),
        True,
        K.UNION_CHOICE,
        "$.f",
    ),
    Case(
        "text lands in bytes that come first",
        one(["null", "string"]),
        one(["null", "bytes", "string"]),
        True,
        K.UNION_CHOICE,
        "$.f|string",
    ),
    Case(
        "record in a union lacks a default",
        one(["null", record("S", field("a", "int"))]),
        one(["null", record("S", field("a", "int"), field("b", "int"))]),
        False,
        K.MISSING_DEFAULT,
        "$.f|S.b",
    ),
    Case(
        "the union says why that branch fails",
        one(["null", record("S", field("a", "int"))]),
        one(["null", record("S", field("a", "string"))]),
        False,
        K.NO_UNION_BRANCH,
        "$.f|S",
    ),
    Case(
        "array in a union",
        one(["null", array("int")]),
        one(["null", array("string")]),
        False,
        K.NO_UNION_BRANCH,
        "$.f|array",
    ),
    Case(
        "of two records with one unqualified name the first is taken",
        one(record("b.S")),
        one([record("a.S", field("x", "int")), record("b.S")]),
        False,
        K.MISSING_DEFAULT,
        "$.f|a.S.x",
    ),
    Case(
        "and Java takes the other",
        one(record("b.S")),
        one([record("a.S", field("x", "int")), record("b.S")]),
        False,
        K.UNION_CHOICE,
        "$.f",
    ),
    Case(
        "enum in a union lacks a symbol",
        one(["null", enum("E", "A", "B")]),
        one(["null", enum("E", "A")]),
        False,
        K.MISSING_SYMBOLS,
        "$.f|E",
    ),
    # Recursion.
    Case("recursion", tree("int"), tree("int"), True, None),
    Case("recursion, promoted", tree("int"), tree("long"), True, K.PROMOTION, "$.value"),
    Case("recursion that fails", tree("int"), tree("string"), False, K.TYPE_MISMATCH, "$.value"),
    Case(
        "no verdict of an unfinished pair leaks",
        *leaking(),
        False,
        K.TYPE_MISMATCH,
        "$|a.Node.size",
    ),
    Case(
        "a branch after the first match does no harm",
        *_harmless(),
        True,
        K.NAMESPACE_DIFFERS,
        "$|b.Node",
    ),
    Case(
        "a pair met again after its outer failed",
        *_through_unfinished(),
        False,
        K.NO_UNION_BRANCH,
        "$.again|B",
    ),
    # Logical types.
    Case(
        "millis to micros",
        one(logical("long", "timestamp-millis")),
        one(logical("long", "timestamp-micros")),
        True,
        K.LOGICAL_TYPE_CHANGED,
        "$.f",
        LOGICAL,
    ),
    Case(
        "instant to local",
        one(logical("long", "timestamp-micros")),
        one(logical("long", "local-timestamp-micros")),
        True,
        K.LOGICAL_TYPE_CHANGED,
        "$.f",
        LOGICAL,
    ),
    Case(
        "date to instant",
        one(logical("int", "date")),
        one(logical("long", "timestamp-millis")),
        True,
        K.LOGICAL_TYPE_CHANGED,
        "$.f",
        LOGICAL,
    ),
    Case(
        "logical type added",
        one("string"),
        one(logical("string", "uuid")),
        True,
        K.LOGICAL_TYPE_ADDED,
        "$.f",
        LOGICAL,
    ),
    Case(
        "logical type removed",
        one(logical("long", "timestamp-micros")),
        one("long"),
        True,
        K.LOGICAL_TYPE_REMOVED,
        "$.f",
        LOGICAL,
    ),
    Case(
        "logical type on the wrong type is none",
        one("int"),
        one(logical("int", "timestamp-millis")),
        True,
        None,
    ),
    Case(
        "decimal that cannot be is none",
        one("bytes"),
        one(logical("bytes", "decimal", precision=2, scale=3)),
        True,
        None,
    ),
    Case(
        "decimal scale",
        one(decimal(9, 2)),
        one(decimal(9, 3)),
        True,
        K.DECIMAL_SCALE,
        "$.f",
        DECIMAL,
    ),
    Case(
        "decimal precision narrowed",
        one(decimal(9, 2)),
        one(decimal(5, 2)),
        True,
        K.DECIMAL_PRECISION,
        "$.f",
        DECIMAL,
    ),
    Case(
        "decimal precision widened",
        one(decimal(5, 2)),
        one(decimal(9, 2)),
        True,
        K.DECIMAL_WIDENED,
        "$.f",
        DECIMAL,
    ),
    Case(
        "decimal of a fixed",
        one(fixed("F", 8, logicalType="decimal", precision=9, scale=2)),
        one(fixed("F", 8, logicalType="decimal", precision=9, scale=0)),
        True,
        K.DECIMAL_SCALE,
        "$.f",
        DECIMAL,
    ),
    Case(
        "duration removed",
        one(fixed("F", 12, logicalType="duration")),
        one(fixed("F", 12)),
        True,
        K.LOGICAL_TYPE_REMOVED,
        "$.f",
        LOGICAL,
    ),
]
