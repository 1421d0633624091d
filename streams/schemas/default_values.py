"""Default values: what a reader has where the writer has no field, made as if it had been written.

A default stands in a schema as JSON. As bytes it can be decoded like anything else, so that it
becomes what a stored value of its type becomes: bytes, a `Decimal`, a time, a whole record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

from streams.schemas.compatibility.defaults import default_problem
from streams.schemas.compatibility.model import (
    Array,
    AvroType,
    Enum,
    Fixed,
    Map,
    Primitive,
    Record,
    Union,
)
from streams.schemas.encoder import long

_NO_VALUE: Final = (RecursionError, OverflowError, UnicodeEncodeError, struct.error)


def fitting_bytes(type_: AvroType, value: Any) -> bytes | None:
    """The Avro bytes of a default; None for one that was released though it is no value."""
    if default_problem(type_, value) is not None:
        return None
    try:
        return default_bytes(type_, value)
    except _NO_VALUE:
        return None


def default_bytes(type_: AvroType, value: Any) -> bytes:
    """The Avro bytes of a default that fits its type.

    Raises `RecursionError` for a default that is filled with itself without end.
    """
    match type_:
        case Primitive():
            return _primitive(type_.kind, value)
        case Enum():
            return long(type_.symbols.index(value))
        case Fixed():
            return bytes(value, "latin-1")
        case Array():
            return _block(default_bytes(type_.items, item) for item in value)
        case Map():
            return _block(
                _primitive("string", key) + default_bytes(type_.values, item)
                for key, item in value.items()
            )
        case Union():
            return _branch(type_, value)
        case Record():
            return b"".join(
                default_bytes(field.type, value.get(name, field.default))
                for name, field in type_.fields.items()
            )


def _branch(union: Union, value: Any) -> bytes:
    """By the first branch that the value fits."""
    fitting = (n for n, one in enumerate(union.branches) if default_problem(one, value) is None)
    n = next(fitting)
    return long(n) + default_bytes(union.branches[n], value)


def _block(items: Iterable[bytes]) -> bytes:
    written = list(items)
    return (long(len(written)) + b"".join(written) if written else b"") + long(0)


def _primitive(kind: str, value: Any) -> bytes:
    match kind:
        case "null":
            return b""
        case "boolean":
            return bytes([value])
        case "int" | "long":
            return long(value)
        case "float" | "double":
            return struct.pack("<f" if kind == "float" else "<d", value)
        case _:
            raw = value.encode("utf-8" if kind == "string" else "latin-1")
            return long(len(raw)) + bytes(raw)
