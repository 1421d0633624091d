"""What changed between two versions of a schema: a table of everything that can."""

from __future__ import annotations

from typing import Any

import pytest

from streams.schemas.changes import ChangeKind, changes
from streams.schemas.folders import SchemaFolder, builtin_folder
from tests.schemas.folder import field, record

K = ChangeKind
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 9}
COLOURS = {"type": "enum", "name": "Colour", "symbols": ["unknown", "red"], "default": "unknown"}
FIXED = {"type": "fixed", "name": "Hash", "size": 16}
ITEM = record("Item", field("sku"))
NODE = record("Node", field("next", ["null", "Node"]), field("value", "int"))


def order(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return record("Placed", *fields, **more)


def both(old: Any, new: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two versions of a record whose field `x` has these types."""
    return order(field("x", old)), order(field("x", new))


TABLE = {
    "nothing": (*both("string", "string"), []),
    "added": (
        order(field("a")),
        order(field("a"), field("b", "int", default=3)),
        [("b", K.FIELD_ADDED, "", "int, default 3")],
    ),
    "removed": (
        order(field("a"), field("b", ["null", "int"])),
        order(field("a")),
        [("b", K.FIELD_REMOVED, "int?", "")],
    ),
    "renamed": (
        order(field("a")),
        order(field("b", aliases=["a"], doc="The a.")),
        [("b", K.FIELD_RENAMED, "a", "b"), ("b", K.ALIASES_CHANGED, "", "a")],
    ),
    "an alias of a field that is still there renames nothing": (
        order(field("a")),
        order(field("a"), field("b", aliases=["a"])),
        [("b", K.FIELD_ADDED, "", "string, no default")],
    ),
    "reordered": (
        order(field("a"), field("b")),
        order(field("b"), field("a")),
        [("", K.FIELDS_REORDERED, "a, b", "b, a")],
    ),
    "type": (*both("int", "long"), [("x", K.TYPE_CHANGED, "int", "long")]),
    "nullable": (
        *both("int", ["null", "int"]),
        [("x", K.MADE_NULLABLE, "int", "int?")],
    ),
    "required, and of another type": (
        *both(["null", "int"], "long"),
        [("x", K.MADE_REQUIRED, "int?", "long"), ("x", K.TYPE_CHANGED, "int", "long")],
    ),
    "branches": (
        *both(["null", "int", "string"], ["null", "long", "boolean", "string"]),
        [
            ("x", K.BRANCH_ADDED, "", "long"),
            ("x", K.BRANCH_ADDED, "", "boolean"),
            ("x", K.BRANCH_REMOVED, "int", ""),
        ],
    ),
    "order of branches": (
        *both(["null", "int"], ["int", "null"]),
        [("x", K.BRANCHES_REORDERED, "null | int", "int | null")],
    ),
    "a branch's own fields": (
        *both(["null", ITEM], ["null", record("Item", field("sku", "int"))]),
        [("x.sku", K.TYPE_CHANGED, "string", "int")],
    ),
    "of two records in a union, the one": (
        *both([ITEM, FIXED, NODE], [ITEM, FIXED, record("Node", NODE["fields"][0])]),
        [("x|Node.value", K.FIELD_REMOVED, "int", "")],
    ),
    "default added": (
        order(field("a")),
        order(field("a", default="")),
        [("a", K.DEFAULT_ADDED, "", '""')],
    ),
    "default removed": (
        order(field("a", "int", default=1)),
        order(field("a", "int")),
        [("a", K.DEFAULT_REMOVED, "1", "")],
    ),
    "default changed, by type alone": (
        order(field("a", "double", default=1)),
        order(field("a", "double", default=1.0)),
        [("a", K.DEFAULT_CHANGED, "1", "1.0")],
    ),
    "docs": (
        order(field("a")),
        order(field("a", doc="Another."), doc="Changed."),
        [
            ("", K.DOC_CHANGED, "A Placed.", "Changed."),
            ("a", K.DOC_CHANGED, "The a.", "Another."),
        ],
    ),
    "symbols": (
        *both(COLOURS, COLOURS | {"symbols": ["blue", "unknown"], "default": "blue"}),
        [
            ("x", K.SYMBOL_ADDED, "", "blue"),
            ("x", K.SYMBOL_REMOVED, "red", ""),
            ("x", K.DEFAULT_CHANGED, '"unknown"', '"blue"'),
        ],
    ),
    "order of symbols": (
        *both(COLOURS, COLOURS | {"symbols": ["red", "unknown"]}),
        [("x", K.SYMBOLS_REORDERED, "unknown, red", "red, unknown")],
    ),
    "size": (*both(FIXED, FIXED | {"size": 8}), [("x", K.SIZE_CHANGED, "16 bytes", "8 bytes")]),
    "logical type": (
        *both("long", {"type": "long", "logicalType": "timestamp-millis"}),
        [("x", K.LOGICAL_TYPE_CHANGED, "long", "long as timestamp-millis")],
    ),
    "scale": (
        *both(DECIMAL, DECIMAL | {"scale": 2}),
        [("x", K.LOGICAL_TYPE_CHANGED, "bytes as decimal(9, 0)", "bytes as decimal(9, 2)")],
    ),
    "inside arrays and maps": (
        *both(
            {"type": "array", "items": {"type": "map", "values": "int"}},
            {"type": "array", "items": {"type": "map", "values": "long"}},
        ),
        [("x[]{}", K.TYPE_CHANGED, "int", "long")],
    ),
    "a namespace": (
        order(),
        order(namespace="acme.shop"),
        [("", K.NAME_CHANGED, "acme.order.Placed", "acme.shop.Placed")],
    ),
    "what only some tools understand": (
        order(field("a"), kind="event"),
        order(field("a", personal_data=True), kind="command"),
        [
            ("", K.ATTRIBUTE_CHANGED, 'kind = "event"', 'kind = "command"'),
            ("a", K.ATTRIBUTE_CHANGED, "", "personal_data = true"),
        ],
    ),
    "recursion": (
        *both(NODE, record("Node", NODE["fields"][0], field("value", "long"))),
        [("x.value", K.TYPE_CHANGED, "int", "long")],
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_what_is_different_is_said_and_nothing_else(name: str) -> None:
    """With its path, and what it was and is."""
    old, new, expected = TABLE[name]
    found = [(one.path, one.kind, one.before, one.after) for one in changes(old, new)]
    assert found == expected


def test_every_kind_of_change_is_in_the_table() -> None:
    assert {row[1] for _, _, rows in TABLE.values() for row in rows} == set(ChangeKind)


def test_the_versions_of_our_own_types_differ_as_they_were_written() -> None:
    """The journal's second version says what the group was told to keep."""
    first, second = SchemaFolder(builtin_folder()).versions("agentlog.journal.OutcomesRecorded")
    added = [one for one in changes(first.schema, second.schema) if one.kind is K.FIELD_ADDED]
    assert [one.path for one in added] == ["delivery"]
    assert added[0].message == 'field added: enum Delivery, default "exactly_once"'


def test_attributes_that_mean_nothing_are_no_types() -> None:
    """Another type's attribute is metadata here, whatever is in it."""
    odd = {**COLOURS, "fields": 1, "items": [{"type": {}}]}
    found = changes(*both({"type": "int", "values": {"type": "fixed"}}, odd))
    assert [change.kind for change in found] == [K.TYPE_CHANGED]
