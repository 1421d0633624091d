"""What a proof found: where, and what differs, with both values."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any, Final

import msgspec

from consumers.differences import NOTHING, Difference, differences

SHOWN_MAX: Final = 10
"""Differences that are shown of two states."""
VALUE_CHARACTERS_MAX: Final = 200
"""Of a value that is shown."""
COUNTED_MAX: Final = 10_000
"""Differences that are counted."""


class Shown(msgspec.Struct, frozen=True):
    """One value that two states do not share, as text."""

    path: str
    one: str
    other: str


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as it must be."""

    kind: str
    """Short and stable, as in `merge_order`."""
    where: str
    """A record (`topic[0]@7`), partitions, or what was compared."""
    detail: str
    """A sentence."""
    one: str = ""
    other: str = ""
    """What was compared, as in `live` and `replayed`."""
    differences: tuple[Shown, ...] = ()
    more: int = 0
    """Differences that are not listed."""

    def __str__(self) -> str:
        said = f"{self.where}: {self.detail}"
        if not self.differences:
            return said
        first = self.differences[0]
        path = first.path or "the state"
        return f"{said}; {path} is {first.one} ({self.one}) and {first.other} ({self.other})"


def compared(
    kind: str, where: str, detail: str, one: tuple[str, Any], other: tuple[str, Any]
) -> Fault:
    """The fault that two states (each behind its name) are not one."""
    differing, more = shown(one[1], other[1])
    return Fault(
        kind=kind,
        where=where,
        detail=detail,
        one=one[0],
        other=other[0],
        differences=differing,
        more=more,
    )


def shown(one: Any, other: Any) -> tuple[tuple[Shown, ...], int]:
    """The first differences of two states, and how many more there are."""
    return listed(differences(one, other))


def listed(found: Iterable[Difference]) -> tuple[tuple[Shown, ...], int]:
    """The first of these, and how many more there are."""
    found = list(islice(found, COUNTED_MAX))
    return tuple(map(_shown, found[:SHOWN_MAX])), max(len(found) - SHOWN_MAX, 0)


def is_float(found: Iterable[Difference]) -> bool:
    """Whether two states differ in nothing but the value of some floats."""
    seen = list(islice(found, COUNTED_MAX))
    return bool(seen) and all(
        isinstance(one.before, float) and isinstance(one.after, float) for one in seen
    )


def _shown(one: Difference) -> Shown:
    return Shown(one.path, _text(one.before), _text(one.after))


def _text(value: Any) -> str:
    text = "nothing" if value is NOTHING else repr(value)
    if len(text) > VALUE_CHARACTERS_MAX:
        return f"{text[:VALUE_CHARACTERS_MAX]}… ({len(text):,} characters)"
    return text
