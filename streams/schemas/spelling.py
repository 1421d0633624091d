"""Spelling: one schema written in many ways, written in one. Pure.

A name can be short or in full, a namespace on its type or around it, a primitive type bare or an
object, an order left out or the default. Parsers differ on some ways to write what the
specification has no word for: a namespace that is null is none (fastavro takes it for the null
namespace), a default symbol that is null is none, an object with the name of a type is the type.
That is how Java's parser reads them, up to 1.12.1.
"""

from __future__ import annotations

from typing import Any, Final

from streams.schemas.compatibility.names import PRIMITIVES, full_name, namespace_within
from streams.schemas.walking import NAMED

_KINDS: Final = PRIMITIVES | NAMED | {"array", "map"}


def in_full(schema: Any) -> Any:
    """The same schema, with a namespace on each definition, and each name in full.

    What is no schema stays as it is: whoever parses it tells of it.
    """
    return _absolute(schema, "")


def is_definition(schema: dict[str, Any]) -> bool:
    """Whether an object defines a named type."""
    kind = schema.get("type")
    return isinstance(kind, str) and kind in NAMED and isinstance(schema.get("name"), str)


def _absolute(schema: Any, namespace: str) -> Any:
    if isinstance(schema, str):
        return schema if schema in PRIMITIVES else full_name(schema, namespace)
    if isinstance(schema, list):
        return [_absolute(branch, namespace) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if is_definition(schema):
        return _definition(schema, namespace)
    kind = schema.get("type")
    if isinstance(kind, str) and (kind not in _KINDS or list(schema) == ["type"]):
        return _absolute(kind, namespace)
    return {
        **schema,
        **{
            key: _absolute(schema[key], namespace)
            for key in ("type", "items", "values")
            if key in schema and not (key == "type" and isinstance(kind, str))
        },
    }


def _definition(schema: dict[str, Any], namespace: str) -> dict[str, Any]:
    before, _, name = schema["name"].rpartition(".")
    namespace = before or namespace_within(schema, namespace)
    whole = {**schema, "name": name, "namespace": namespace}
    if isinstance(aliases := schema.get("aliases"), list):
        whole["aliases"] = [_alias(alias, namespace) for alias in aliases]
    if isinstance(fields := schema.get("fields"), list):
        whole["fields"] = [_field(field, namespace) for field in fields]
    if schema["type"] == "enum" and whole.get("default", "") is None:
        del whole["default"]
    return whole


def _alias(alias: Any, namespace: str) -> Any:
    return full_name(alias, namespace) if isinstance(alias, str) else alias


def _field(field: Any, namespace: str) -> Any:
    if not isinstance(field, dict) or "type" not in field:
        return field
    whole = {**field, "type": _absolute(field["type"], namespace)}
    if whole.get("order") == "ascending":
        del whole["order"]
    return whole
