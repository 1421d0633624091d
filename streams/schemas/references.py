"""Schemas by names in full: alike under any spelling, and one that stands alone of several. Pure.

A registry keeps a schema apart from the named types that it refers to; a decoder wants them in
place: each definition where its name is met first, and the bare name after that (Avro 1.12, "Schema
Declaration", "Names").
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from streams.schemas.spelling import in_full, is_definition
from streams.schemas.writer_schema import Schema, fingerprint

__all__ = ["as_written", "identity", "in_full", "inlined"]


def inlined(schema: Schema, others: Iterable[Schema]) -> Schema:
    """The schema with every definition it needs of `others` in place, names in full.

    A name that none of them defines stays as it is: whoever parses the schema tells of it.
    """
    found: dict[str, Schema] = {}
    for other in others:
        _collect(in_full(other), found)
    return _filled(in_full(schema), found, set())


def identity(schema: Schema) -> str:
    """SHA-256, in hex, of the whole schema, however it is spelled.

    Registries hand schemas out in spellings of their own: without a namespace that the enclosing
    one repeats, without an order that is the default, `"string"` for `{"type": "string"}`. Docs,
    defaults and aliases count.
    """
    return fingerprint(in_full(schema))


def _collect(schema: Schema, found: dict[str, Schema]) -> None:
    """Every definition in it, by its full name; of an absolute schema."""
    if isinstance(schema, list):
        for branch in schema:
            _collect(branch, found)
    elif isinstance(schema, dict):
        if is_definition(schema):
            found.setdefault(_full_name(schema), schema)
            fields = schema.get("fields")
            for field in fields if isinstance(fields, list) else ():
                _collect(field.get("type") if isinstance(field, dict) else None, found)
        else:
            for key in ("type", "items", "values"):
                _collect(schema.get(key), found)


def _filled(schema: Schema, found: dict[str, Schema], defined: set[str]) -> Schema:
    if isinstance(schema, str):
        if schema in defined or schema not in found:
            return schema
        return _filled(found[schema], found, defined)
    if isinstance(schema, list):
        return [_filled(branch, found, defined) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    if is_definition(schema):
        name = _full_name(schema)
        if name in defined:
            return name
        defined.add(name)
        if not isinstance(schema.get("fields"), list):
            return schema
        return {**schema, "fields": [_field(field, found, defined) for field in schema["fields"]]}
    # What is left of `type` as a text is a kind: names of types stand alone in an absolute schema.
    return {
        **schema,
        **{
            key: _filled(schema[key], found, defined)
            for key in ("type", "items", "values")
            if key in schema and not (key == "type" and isinstance(schema[key], str))
        },
    }


def _field(field: Any, found: dict[str, Schema], defined: set[str]) -> Any:
    if not isinstance(field, dict) or "type" not in field:
        return field
    return {**field, "type": _filled(field["type"], found, defined)}


def _full_name(schema: dict[str, Any]) -> str:
    namespace = schema.get("namespace")
    return f"{namespace}.{schema['name']}" if namespace else str(schema["name"])


_ABOUT_BYTES: Final = ("type", "name", "namespace", "fields", "symbols", "items", "values", "size")
_ABOUT_VALUES: Final = ("logicalType", "precision", "scale")


def as_written(schema: Schema) -> Schema:
    """What a schema says of what was written with it, and nothing else.

    Docs, aliases, defaults and orders are for readers: two schemas that are equal without them
    write the same bytes, and read each other's.
    """
    return _bare(in_full(schema))


def _bare(schema: Schema) -> Schema:
    if isinstance(schema, list):
        return [_bare(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        key: _bare(schema[key]) if key in {"type", "fields", "items", "values"} else schema[key]
        for key in (*_ABOUT_BYTES, *_ABOUT_VALUES)
        if key in schema
    }
    return kept["type"] if list(kept) == ["type"] else kept
