"""Defaults: whether a JSON value is one of a type (section "Records", field default values).

As the specification says since 1.12: a union's default may be a value of any of its branches. Bytes
are strings of the code points 0 to 255; a record's fields may be left out where they have defaults.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any, Final

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
    describe,
    label,
)

_BITS: Final = {"int": 31, "long": 63}
_LARGEST: Final = {"float": (2 - 2**-23) * 2.0**127, "double": sys.float_info.max}
VALUES_NESTED_MAX: Final = 100
"""How deep a default may be nested; a deeper one is refused."""
_PROBLEM_CHARS_MAX: Final = 400
_VALUE_CHARS_MAX: Final = 80
_JSON: Final[dict[str, type[Any]]] = {"array": list, "object": dict}


def default_problem(type_: AvroType, value: Any) -> str | None:
    """Why a value is none of a type, with the path inside of it; None if it is one.

    Of a long explanation the ends are told.
    """
    if isinstance(value, list | dict) and _is_deeper(value, VALUES_NESTED_MAX):
        return f"it is nested deeper than {VALUES_NESTED_MAX}"
    problem = _problem(type_, value)
    return problem and _ends(problem, _PROBLEM_CHARS_MAX)


def _problem(type_: AvroType, value: Any) -> str | None:
    match type_:
        case Primitive():
            return _primitive(type_.kind, value)
        case Enum():
            known = isinstance(value, str) and value in type_.symbols
            return None if known else f"{_shown(value)} is no symbol of {describe(type_)}"
        case Fixed():
            fits = _is_bytes(value) and len(value) == type_.size
            return None if fits else f"{_shown(value)} is no string of {type_.size} bytes"
        case Union():
            return _union(type_, value)
        case _:
            return _holder(type_, value)


def fills_itself(field: Field) -> bool:
    """Whether a default that fits leaves out what the same default is to fill, and so on."""
    if not isinstance(field.default, list | dict):
        return False
    waiting, seen = [field], {field}
    while waiting:
        one = waiting.pop()
        for inner in _left_out(one.type, one.default):
            if inner is field:
                return True
            if inner not in seen:
                seen.add(inner)
                waiting.append(inner)
    return False


def _left_out(type_: AvroType, value: Any) -> Iterator[Field]:
    """The fields of records that a default leaves to their own defaults."""
    match type_:
        case Array():
            for item in value:
                yield from _left_out(type_.items, item)
        case Map():
            for item in value.values():
                yield from _left_out(type_.values, item)
        case Union():
            taken = next(one for one in type_.branches if _problem(one, value) is None)
            yield from _left_out(taken, value)
        case Record():
            for name, field in type_.fields.items():
                if name in value:
                    yield from _left_out(field.type, value[name])
                else:
                    yield field


def _holder(type_: Array | Map | Record, value: Any) -> str | None:
    """The first thing in a value that does not fit, and where."""
    called = "array" if isinstance(type_, Array) else "object"
    if not isinstance(value, _JSON[called]):
        return f"{_shown(value)} is no {called}"
    found: Iterator[tuple[str, str | None]]
    match type_:
        case Array():
            found = ((f"[{n}]", _problem(type_.items, v)) for n, v in enumerate(value))
        case Map():
            found = ((f"[{key!r}]", _problem(type_.values, v)) for key, v in value.items())
        case Record():
            found = ((f".{name}", _field(type_, name, value)) for name in type_.fields)
    return next((f"{place}: {problem}" for place, problem in found if problem), None)


def _field(record: Record, name: str, value: dict[str, Any]) -> str | None:
    field = record.fields[name]
    if name in value:
        return _problem(field.type, value[name])
    # A default left out is checked where it stands, and whether it ever ends in `fills_itself`.
    return None if field.has_default else "is missing, and has no default of its own"


def _union(union: Union, value: Any) -> str | None:
    why = []
    for branch in union.branches:
        problem = _problem(branch, value)
        if problem is None:
            return None
        why.append(f"{label(branch)}: {problem}")
    return f"fits no branch of the union ({'; '.join(why)})"


def _primitive(kind: str, value: Any) -> str | None:
    match kind:
        case "null":
            fits = value is None
        case "boolean":
            fits = isinstance(value, bool)
        case "int" | "long":
            bound = 1 << _BITS[kind]
            fits = type(value) is int and -bound <= value < bound
        case "float" | "double":
            fits = type(value) in {int, float} and abs(value) <= _LARGEST[kind]
        case "bytes":
            fits = _is_bytes(value)
        case _:
            fits = isinstance(value, str)
    return None if fits else f"{_shown(value)} is no {kind}"


def _is_bytes(value: Any) -> bool:
    return isinstance(value, str) and all(ord(char) <= 0xFF for char in value)


def _is_deeper(value: Any, depth: int) -> bool:
    """Whether JSON is nested deeper than that, told without going down further."""
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for one in level
            if isinstance(one, list | dict)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return any(isinstance(one, list | dict) for one in level)


def _shown(value: Any) -> str:
    return _ends(repr(value), _VALUE_CHARS_MAX)


def _ends(text: str, length: int) -> str:
    """A text, or the two ends of a long one."""
    half = length // 2
    return text if len(text) <= length else f"{text[:half]} … {text[-half:]}"
