"""Stored values as Python has them, by the writer's types alone: no logical types, no names."""

from __future__ import annotations

import struct
from typing import Any

from streams.schemas.compatibility.model import (
    Array,
    AvroType,
    Enum,
    Field,
    Fixed,
    Map,
    Primitive,
    Record,
    Union,
)
from streams.schemas.default_values import fitting_bytes
from streams.schemas.varints import count_at, index_at, long_at, span_at


def raw_value(type_: AvroType, b: bytes, i: int) -> tuple[Any, int]:
    """The value that begins at `i`, and where the next one begins. Slow: for rare places."""
    match type_:
        case Primitive():
            return _primitive(type_.kind, b, i)
        case Enum():
            n, i = index_at(b, i, len(type_.symbols), "symbol")
            return type_.symbols[n], i
        case Fixed():
            return b[i : i + type_.size], i + type_.size
        case Union():
            n, i = index_at(b, i, len(type_.branches), "branch")
            return raw_value(type_.branches[n], b, i)
        case Record():
            found = {}
            for name, field in type_.fields.items():
                found[name], i = raw_value(field.type, b, i)
            return found, i
        case Array() | Map():
            return _blocks(type_, b, i)


def raw_default(field: Field) -> Any:
    """A field's default as `raw_value` would have read it; one that is no value as it stands."""
    raw = fitting_bytes(field.type, field.default)
    return field.default if raw is None else raw_value(field.type, raw, 0)[0]


def _blocks(type_: Array | Map, b: bytes, i: int) -> tuple[Any, int]:
    items: list[Any] = []
    keys: list[str] = []
    while True:
        count, i = count_at(b, i)
        if not count:
            return (dict(zip(keys, items, strict=True)) if isinstance(type_, Map) else items), i
        for _ in range(count):
            if isinstance(type_, Map):
                key, i = _primitive("string", b, i)
                keys.append(key)
            item, i = raw_value(type_.items if isinstance(type_, Array) else type_.values, b, i)
            items.append(item)


def _primitive(kind: str, b: bytes, i: int) -> tuple[Any, int]:
    match kind:
        case "null":
            return None, i
        case "boolean":
            return b[i] != 0, i + 1
        case "int" | "long":
            return long_at(b, i)
        case "float":
            return struct.unpack_from("<f", b, i)[0], i + 4
        case "double":
            return struct.unpack_from("<d", b, i)[0], i + 8
        case _:
            start, i = span_at(b, i)
            return (b[start:i].decode() if kind == "string" else b[start:i]), i
