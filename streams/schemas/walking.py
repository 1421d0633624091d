"""Schemas walked: every named type and every field with its path, names resolved.

Paths are what a person would write: `task.timeout`, `runs[]` for the items of an array, `labels{}`
for the values of a map. A union adds nothing to a path, unless it has several records: then the
branch is named, as in `body|Refusal.code`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from streams.schemas.compatibility.names import PRIMITIVES, namespace_within
from streams.schemas.compatibility.names import full_name as in_namespace

NAMED: Final = frozenset({"record", "error", "enum", "fixed"})
RECORDS: Final = frozenset({"record", "error"})
_BRANCH: Final = re.compile(r"\|[A-Za-z0-9_]+")


class Node(NamedTuple):
    """One schema, wherever it is defined."""

    kind: str
    """`record`, `enum`, `fixed`, `array`, `map`, `union` or a primitive type."""
    schema: Any
    """A list for a union, else a dict."""
    namespace: str
    """What unqualified names in it belong to."""
    name: str = ""
    """Full name, of a named type."""

    @property
    def logical(self) -> str:
        """Its logical type, as in `date` or `decimal(9, 2)`; empty if it has none."""
        name = "" if isinstance(self.schema, list) else str(self.schema.get("logicalType", ""))
        if name != "decimal":
            return name
        return f"decimal({self.schema.get('precision')}, {self.schema.get('scale', 0)})"

    @property
    def last_name(self) -> str:
        """Name without the namespace."""
        return self.name.rpartition(".")[2]


class FieldSite(NamedTuple):
    """A field of a record, and where it is."""

    path: str
    field: dict[str, Any]
    node: Node
    """Its type."""
    depth: int
    """0 for fields of the payload itself."""


class TypeSite(NamedTuple):
    """A named type, and the first place where it is."""

    path: str
    node: Node


class Names:
    """The named types of one whole schema."""

    def __init__(self, schema: Any) -> None:
        self.root = schema
        self._defined: dict[str, Node] = {}
        self._define(schema, "")

    def node(self, schema: Any, namespace: str = "") -> Node:
        """What a schema is where this namespace holds. Raises `LookupError` for unknown names."""
        if isinstance(schema, list):
            return Node("union", schema, namespace)
        if isinstance(schema, str):
            if schema in PRIMITIVES:
                return Node(schema, {"type": schema}, namespace)
            return self._defined[in_namespace(schema, namespace)]
        kind = schema["type"]
        if not isinstance(kind, str):
            return self.node(kind, namespace)
        if kind in NAMED:
            return self._defined[full_name(schema, namespace)]
        if kind in PRIMITIVES or kind in {"array", "map"}:
            return Node(kind, schema, namespace)
        return self._defined[in_namespace(kind, namespace)]

    def _define(self, schema: Any, namespace: str) -> None:
        if isinstance(schema, list):
            for branch in schema:
                self._define(branch, namespace)
        elif isinstance(schema, dict):
            kind = schema.get("type")
            if isinstance(kind, str) and kind in NAMED:
                name = full_name(schema, namespace)
                namespace = name.rpartition(".")[0]
                kind = "record" if kind in RECORDS else kind
                self._defined[name] = Node(kind, schema, namespace, name)
                for field in schema["fields"] if kind == "record" else ():
                    self._define(field["type"], namespace)
            elif kind in ("array", "map"):
                self._define(schema["items" if kind == "array" else "values"], namespace)
            else:
                self._define(kind, namespace)


def full_name(schema: dict[str, Any], namespace: str = "") -> str:
    """Full name of a named type that is defined where this namespace holds."""
    return in_namespace(schema["name"], namespace_within(schema, namespace))


def fields_of(names: Names) -> Iterator[FieldSite]:
    """Every field of every record, once, in the order they are written."""
    for site in _walk(names, names.node(names.root), "", 0, set()):
        if isinstance(site, FieldSite):
            yield site


def types_of(names: Names) -> Iterator[TypeSite]:
    """Every named type, once, in the order they are written."""
    for site in _walk(names, names.node(names.root), "", 0, set()):
        if isinstance(site, TypeSite):
            yield site


def branches(names: Names, node: Node) -> list[Node]:
    """The branches of a union; of anything else, itself."""
    if node.kind != "union":
        return [node]
    return [names.node(branch, node.namespace) for branch in node.schema]


def below(path: str, name: str) -> str:
    """Path of a field of what is at `path`."""
    return f"{path}.{name}" if path else name


def without_branches(path: str) -> str:
    """A path by fields alone, as waivers have it."""
    return _BRANCH.sub("", path)


def branch_path(path: str, among: list[Node], branch: Node) -> str:
    """Path of a branch of a union."""
    records = [one for one in among if one.kind == "record"]
    return f"{path}|{branch.last_name}" if len(records) > 1 and branch in records else path


def shown(names: Names, node: Node) -> str:
    """A type as people read it: `string?`, `array<long>`, `enum Verdict`, `long as date`."""
    match node.kind:
        case "union":
            among = branches(names, node)
            rest = [shown(names, one) for one in among if one.kind != "null"]
            text = " | ".join(rest) or "null"
            if len(rest) == len(among):
                return text
            return f"{text}?" if len(rest) == 1 else f"{text} | null"
        case "array":
            return f"array<{shown(names, names.node(node.schema['items'], node.namespace))}>"
        case "map":
            return f"map<{shown(names, names.node(node.schema['values'], node.namespace))}>"
        case "fixed":
            text = f"fixed({node.schema['size']}) {node.last_name}"
        case "record" | "enum":
            text = f"{node.kind} {node.last_name}"
        case primitive:
            text = primitive
    return f"{text} as {node.logical}" if node.logical else text


def _walk(
    names: Names, node: Node, path: str, depth: int, seen: set[str]
) -> Iterator[FieldSite | TypeSite]:
    if node.name:
        if node.name in seen:
            return
        seen.add(node.name)
        yield TypeSite(path, node)
    match node.kind:
        case "union":
            among = branches(names, node)
            for one in among:
                yield from _walk(names, one, branch_path(path, among, one), depth, seen)
        case "array":
            items = names.node(node.schema["items"], node.namespace)
            yield from _walk(names, items, f"{path}[]", depth, seen)
        case "map":
            values = names.node(node.schema["values"], node.namespace)
            yield from _walk(names, values, f"{path}{{}}", depth, seen)
        case "record":
            for field in node.schema["fields"]:
                at, inner = below(path, field["name"]), names.node(field["type"], node.namespace)
                yield FieldSite(at, field, inner, depth)
                yield from _walk(names, inner, at, depth + 1, seen)
