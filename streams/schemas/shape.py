"""Shapes: a record schema as a type that msgspec checks values against.

fastavro writes what it can: it truncates 1.5 to 1 and takes True for an int. A value that does not
fit must be refused before anything is sent, so its shape is checked first, at the speed of C.
Schemas that no such type expresses (recursion, unions of several records) have no shape; the slow
walk in `misfit` checks those.
"""

from __future__ import annotations

import contextlib
from datetime import date, datetime, time
from decimal import Decimal
from functools import reduce
from operator import or_
from typing import Annotated, Any, Final, Literal

import msgspec

_INT: Final = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_LONG: Final = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
# fastavro would read a naive datetime as local time.
_INSTANT: Final = Annotated[datetime, msgspec.Meta(tz=True)]
_PRIMITIVES: Final[dict[str, Any]] = {
    "null": None,
    "boolean": bool,
    "int": _INT,
    "long": _LONG,
    "float": float,
    "double": float,
    "string": str,
    "bytes": bytes,
}
_LOGICAL: Final[dict[str, Any]] = {
    "timestamp-micros": _INSTANT | _LONG,
    "timestamp-millis": _INSTANT | _LONG,
    "local-timestamp-micros": datetime | _LONG,
    "local-timestamp-millis": datetime | _LONG,
    "date": date | _INT,
    "time-micros": time | _LONG,
    "time-millis": time | _INT,
    "decimal": Decimal | bytes,
    "uuid": str,
}


def shape_of(schema: Any) -> Any | None:
    """The type of a (parsed) record schema's values, or None where none expresses it."""
    try:
        shape = _shape(schema, {})
        _probe(shape)
    except (TypeError, LookupError):
        return None
    return shape


def _probe(shape: Any) -> None:
    """msgspec refuses a type that it cannot express on its first use, with a TypeError."""
    with contextlib.suppress(msgspec.ValidationError):
        msgspec.convert(None, shape)


def _shape(schema: Any, named: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return reduce(or_, (_shape(branch, named) for branch in schema))
    if isinstance(schema, str):
        return _PRIMITIVES[schema] if schema in _PRIMITIVES else named[schema]
    logical = schema.get("logicalType")
    if logical in _LOGICAL:
        return _LOGICAL[logical]
    match schema["type"]:
        case "record":
            return _record(schema, named)
        case "enum":
            symbols: Any = Literal[tuple(schema["symbols"])]
            named[schema["name"]] = symbols
            return symbols
        case "array":
            return list.__class_getitem__(_shape(schema["items"], named))
        case "map":
            return dict.__class_getitem__((str, _shape(schema["values"], named)))
        case "fixed":
            size = schema["size"]
            fixed: Any = Annotated[bytes, msgspec.Meta(min_length=size, max_length=size)]
            named[schema["name"]] = fixed
            return fixed
        case nested:
            return _shape(nested, named)


def _record(schema: Any, named: dict[str, Any]) -> Any:
    # Fields are numbered, for an Avro name may be a Python keyword.
    fields: list[Any] = []
    for n, field in enumerate(schema["fields"]):
        shape = _shape(field["type"], named)
        optional = "default" in field
        fields.append(
            (f"f{n}", shape, msgspec.field(default=None)) if optional else (f"f{n}", shape)
        )
    names = {f"f{n}": field["name"] for n, field in enumerate(schema["fields"])}
    record = msgspec.defstruct(
        schema["name"].rsplit(".", 1)[-1],
        fields,
        kw_only=True,
        forbid_unknown_fields=True,
        rename=names,
        gc=False,
    )
    named[schema["name"]] = record
    return record
