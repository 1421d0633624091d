"""Parts of a watch's text: what passes over a value, and what two readers make of it when asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from consumers.reviewing.raw_values import raw_value
from consumers.reviewing.sites import Shown, Unreadable, text_of
from streams.schemas.compatibility.matching import branch_mismatch
from streams.schemas.compatibility.model import (
    Array,
    AvroType,
    Enum,
    Map,
    Primitive,
    Union,
    describe,
)
from streams.schemas.varints import (
    ONE_BYTE_COUNTS,
    ONE_BYTE_LONGS,
    count_at,
    index_at,
    long_at,
    no_more_than,
    span_at,
    wrong_end,
)

Reader = AvroType | None
"""A reader's type; None: it passes the value over."""


def held(reader: Reader) -> Reader:
    """What an array or a map holds."""
    match reader:
        case Array():
            return reader.items
        case Map():
            return reader.values
        case _:
            return None


def enum_of(reader: Reader) -> Enum | None:
    """The reader's type, if it is an enum."""
    return reader if isinstance(reader, Enum) else None


def first_branch(w: AvroType, union: Union) -> AvroType | str:
    """The first branch that takes it; else, in words, that there is none."""
    for branch in union.branches:
        if branch_mismatch(w, branch) is None:
            return branch
    return f"{describe(w)} is in no branch of the reader's {describe(union)}"


def as_bytes(value: Any) -> Any:
    """Text and bytes are promoted to each other, and say the same then."""
    return value.encode() if isinstance(value, str) else value


def differ(one: Any, two: Any) -> bool:
    """Whether two values are not the same. NaN is itself, though it does not equal itself."""
    return as_bytes(one) != as_bytes(two) and repr(one) != repr(two)


def nothing(_: Any) -> Shown:
    """Where there is no value to show."""
    return Shown("", "")


def both(raw: tuple[Any, Any]) -> Shown:
    """Of two values that are known by then."""
    return Shown(*map(text_of, raw))


def constantly(today: str, candidate: str) -> Callable[[Any], Shown]:
    """Of two that do not depend on the record."""
    return lambda _: Shown(today, candidate)


STRING: Final = Primitive("string")
"""What keys of maps are."""
_NUMBER: Final = ("if b[i] < 128: i += 1", "else: _, i = long_at(b, i)")
_SPAN: Final = (
    "s = i + 1",
    "n = COUNTS[b[i]]",
    "if n is None: s, i = span_at(b, i)",
    "else: i = s + n",
)
PASS: Final[dict[str, tuple[str, ...]]] = {
    "null": ("pass",),
    "boolean": ("i += 1",),
    "int": _NUMBER,
    "long": _NUMBER,
    "float": ("i += 4",),
    "double": ("i += 8",),
    "bytes": _SPAN,
    "string": _SPAN,
    "text": (*_SPAN, "b[s:i].decode()"),
}
"""The steps over a value; `text` is a string that is checked."""
CONSTANTS: Final[dict[str, Any]] = {
    "COUNTS": ONE_BYTE_COUNTS,
    "LONGS": ONE_BYTE_LONGS,
    "Unreadable": Unreadable,
    "differ": differ,
    "count_at": count_at,
    "index_at": index_at,
    "long_at": long_at,
    "no_more_than": no_more_than,
    "raw_value": raw_value,
    "span_at": span_at,
    "wrong_end": wrong_end,
}
"""What the text calls."""
