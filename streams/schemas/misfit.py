"""Why a payload does not fit its schema: the first field that is wrong, with its path.

The encoder only says that something is wrong. This walk runs after it failed, so it may be slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, NamedTuple

_INT_BITS = {"int": 31, "long": 63}
_LOGICAL_INPUTS: Mapping[str, tuple[type, ...]] = {
    "timestamp-micros": (datetime,),
    "timestamp-millis": (datetime,),
    "local-timestamp-micros": (datetime,),
    "local-timestamp-millis": (datetime,),
    "date": (date,),
    "time-micros": (time,),
    "time-millis": (time,),
    "decimal": (Decimal,),
}


class Misfit(NamedTuple):
    """The path from the payload's root, as in `task.dependencies[2]`, and what is wrong there."""

    path: str
    problem: str


def find_misfit(schema: Any, datum: Any) -> Misfit | None:
    """The first place where `datum` does not fit the (parsed) schema; None if it fits."""
    return _walk(schema, datum, "", {})


def _walk(schema: Any, datum: Any, path: str, named: dict[str, Any]) -> Misfit | None:
    if isinstance(schema, list):
        return _union(schema, datum, path, named)
    if isinstance(schema, str):
        schema = named.get(schema, {"type": schema})
    kind = schema["type"]
    if isinstance(kind, (dict, list)):
        return _walk(kind, datum, path, named)
    if kind in {"record", "enum", "fixed"}:
        named[schema["name"]] = schema
    match kind:
        case "record":
            return _record(schema, datum, path, named)
        case "array":
            return _array(schema, datum, path, named)
        case "map":
            return _map(schema, datum, path, named)
        case "enum":
            if datum in schema["symbols"]:
                return None
            return Misfit(path or "payload", f"{datum!r} is not one of {schema['symbols']}")
        case _:
            problem = _primitive(schema, kind, datum)
            return Misfit(path or "payload", problem) if problem else None


def _union(branches: list[Any], datum: Any, path: str, named: dict[str, Any]) -> Misfit | None:
    tried = [_walk(branch, datum, path, dict(named)) for branch in branches]
    if any(misfit is None for misfit in tried):
        return None
    deepest = max((misfit for misfit in tried if misfit), key=lambda misfit: len(misfit.path))
    if len(deepest.path) > len(path):
        return deepest
    names = " or ".join(_name(branch) for branch in branches)
    return Misfit(path or "payload", f"{_shown(datum)} is not {names}")


def _record(schema: Any, datum: Any, path: str, named: dict[str, Any]) -> Misfit | None:
    if not isinstance(datum, Mapping):
        return Misfit(path or "payload", f"{_shown(datum)} is not an object")
    misfit = None
    for field in schema["fields"]:
        name, below = field["name"], f"{path}.{field['name']}".lstrip(".")
        if name in datum:
            misfit = misfit or _walk(field["type"], datum[name], below, named)
        elif "default" not in field:
            misfit = misfit or Misfit(below, "is missing")
    unknown = sorted(set(datum) - {field["name"] for field in schema["fields"]})
    if misfit is None and unknown:
        return Misfit(f"{path}.{unknown[0]}".lstrip("."), "is not a field of the schema")
    return misfit


def _array(schema: Any, datum: Any, path: str, named: dict[str, Any]) -> Misfit | None:
    if not isinstance(datum, Sequence) or isinstance(datum, (str, bytes)):
        return Misfit(path or "payload", f"{_shown(datum)} is not a list")
    found = (_walk(schema["items"], it, f"{path}[{i}]", named) for i, it in enumerate(datum))
    return next((misfit for misfit in found if misfit), None)


def _map(schema: Any, datum: Any, path: str, named: dict[str, Any]) -> Misfit | None:
    if not isinstance(datum, Mapping):
        return Misfit(path or "payload", f"{_shown(datum)} is not an object")
    for key, value in datum.items():
        if not isinstance(key, str):
            return Misfit(path or "payload", f"key {key!r} is not a string")
        misfit = _walk(schema["values"], value, f"{path}[{key!r}]", named)
        if misfit:
            return misfit
    return None


def _primitive(schema: Any, kind: str, datum: Any) -> str | None:
    if isinstance(datum, datetime) and datum.tzinfo is None:
        return f"{datum} has no time zone; give it one (datetime.UTC)"
    if isinstance(datum, _LOGICAL_INPUTS.get(schema.get("logicalType"), ())):
        return None
    if kind in _INT_BITS:
        if not isinstance(datum, int) or isinstance(datum, bool):
            return f"{_shown(datum)} is not an integer"
        bound = 1 << _INT_BITS[kind]
        return None if -bound <= datum < bound else f"{datum} does not fit Avro's {kind}"
    if kind == "string" and isinstance(datum, str) and not _is_unicode(datum):
        return f"{_shown(datum)} holds a lone surrogate, which UTF-8 cannot carry"
    fits = {
        "null": datum is None,
        "boolean": isinstance(datum, bool),
        "float": isinstance(datum, (int, float)) and not isinstance(datum, bool),
        "double": isinstance(datum, (int, float)) and not isinstance(datum, bool),
        "string": isinstance(datum, str),
        "bytes": isinstance(datum, (bytes, bytearray)),
        "fixed": isinstance(datum, (bytes, bytearray)) and len(datum) == schema.get("size"),
    }
    return None if fits.get(kind, True) else f"{_shown(datum)} is not {_name(schema)}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _name(schema: Any) -> str:
    if isinstance(schema, dict):
        return str(schema.get("name", schema["type"]))
    return str(schema)


def _shown(datum: Any) -> str:
    text = repr(datum)
    return text if len(text) <= 60 else text[:57] + "..."
