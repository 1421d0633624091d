"""Sites: the places of a schema at which something happens to a record that is read anew.

Paths are those of compatibility findings (`$.task.deadline|long`), so that a verdict and what is
stored stand side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from enum import StrEnum
from typing import Any, Final, NamedTuple

from streams.schemas.compatibility.logical import Logical

TEXT_CHARS_MAX: Final = 120
"""Characters of a value that are kept."""
_PER_SECOND: Final = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}
_LONG: Final = Context(prec=1_000)
"""Digits of a decimal that are shown as they are."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Happening(StrEnum):
    """What can happen to a record under the candidate reader."""

    FAILED = "failed"
    """It can be read today, and cannot then."""
    UNREADABLE = "unreadable"
    """It cannot be read, and cannot be today."""
    VALUE_CHANGED = "value_changed"
    """A field is read as another value than today."""
    ENUM_SUBSTITUTED = "enum_substituted"
    """A symbol that the reader does not know: the enum's default stands for it."""
    LOSSY_PROMOTION = "lossy_promotion"
    """A number that the reader's type cannot hold exactly."""
    DEFAULTED = "defaulted"
    """The writer lacks the field: the reader's default is read."""
    APPEARED = "appeared"
    """A stored field that today's reader passes over is read."""
    UPCAST = "upcast"
    """An upcaster of the candidate's makes another value of it, as it is meant to."""
    MENDED = "mended"
    """Today's reader cannot read it, the candidate's can."""


class Shown(NamedTuple):
    """One value, as each reader has it."""

    today: str
    candidate: str


class Site(NamedTuple):
    """One place and what may happen there."""

    happening: Happening
    path: str
    show: Callable[[Any], Shown]
    """From what was stored there to what each reader makes of it."""


def meaning(logical: Logical | None, raw: Any) -> Any:
    """What a stored value says, so that two readings of it are equal if they mean the same.

    A logical type that nobody here knows says no more than its bytes.
    """
    if logical is None:
        return raw
    kind, _, unit = logical.name.rpartition("-")
    if unit in _PER_SECOND:
        return kind, raw * (1_000_000_000 // _PER_SECOND[unit])
    if logical.name == "date":
        return "date", raw
    if logical.name == "decimal":
        return _decimal(raw, logical.scale)
    return raw


def _decimal(raw: bytes, scale: int) -> tuple[int, int]:
    """Digits and scale, without zeros at the end: exact, however long it is."""
    digits = int.from_bytes(raw, "big", signed=True)
    while digits and not digits % 10:
        digits, scale = digits // 10, scale - 1
    return digits, scale if digits else 0


def told(logical: Logical | None, raw: Any) -> str:
    """A stored value as a reader with this logical type has it."""
    if logical is None:
        return text_of(raw)
    kind, _, unit = logical.name.rpartition("-")
    try:
        if unit in _PER_SECOND and kind in {"timestamp", "local-timestamp"}:
            moment = _EPOCH + timedelta(microseconds=raw * 1_000_000 // _PER_SECOND[unit])
            zone = "Z" if kind == "timestamp" else ""
            return moment.replace(tzinfo=None).isoformat() + zone
        if unit in _PER_SECOND:
            return f"{raw / _PER_SECOND[unit]:g} s after midnight"
        if logical.name == "date":
            return (date(1970, 1, 1) + timedelta(days=raw)).isoformat()
        if logical.name == "decimal":
            digits = Decimal(int.from_bytes(raw, "big", signed=True))
            return text_of(str(digits.scaleb(-logical.scale, _LONG)))
    except (OverflowError, ValueError):
        return f"{text_of(raw)} as {logical}, which no calendar has"
    return text_of(raw)


def text_of(value: Any) -> str:
    """Any value in short."""
    text = (value or '""') if isinstance(value, str) else repr(value)
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 1] + "…"


Hit = tuple[int, Any]
"""A site's number, and what is stored there."""


class Unreadable(Exception):
    """The candidate's reader cannot read this record: at this site."""

    def __init__(self, site: int, why: str) -> None:
        super().__init__(why)
        self.site = site
