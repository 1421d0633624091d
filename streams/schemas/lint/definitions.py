"""One full name, one definition: named types that several types define, compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from streams.schemas.walking import Names, Node, branches, types_of


def defined_elsewhere(types: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """By type, the named types in it that another type defines differently, and which type.

    Docs may differ, and whether a type is written out or named.
    """
    defined: dict[str, dict[str, str]] = {}
    for name, schema in types.items():
        names = Names(schema)
        for site in types_of(names):
            defined.setdefault(site.node.name, {})[name] = _definition(names, site.node)
    found: dict[str, dict[str, str]] = {name: {} for name in types}
    for type_name, definitions in defined.items():
        for name, text in definitions.items():
            others = [one for one, another in definitions.items() if another != text]
            if others:
                found[name][type_name] = others[0]
    return found


def _definition(names: Names, node: Node) -> str:
    fields = [
        (
            field["name"],
            _reference(names, names.node(field["type"], node.namespace)),
            [field["default"]] if "default" in field else [],
        )
        for field in node.schema.get("fields", ())
    ]
    rest = [node.schema.get(key) for key in ("symbols", "default", "size")]
    return json.dumps([node.kind, node.logical, fields, rest])


def _reference(names: Names, node: Node) -> Any:
    match node.kind:
        case "union":
            return [_reference(names, one) for one in branches(names, node)]
        case "array" | "map":
            inner = node.schema["items" if node.kind == "array" else "values"]
            return [node.kind, _reference(names, names.node(inner, node.namespace))]
        case _:
            return [node.name or node.kind, node.logical]
