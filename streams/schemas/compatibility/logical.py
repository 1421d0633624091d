"""Logical types: what a schema says of its values beyond their bytes (section "Logical Types").

They never stop a reader, for both sides have the same bytes; but 1 read as milliseconds and 1 read
as microseconds are two moments. What the specification tells readers to ignore is ignored here: a
known logical type on the wrong type, or a decimal that cannot be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from streams.schemas.compatibility.findings import FindingKind

_UNDERLYING: Final[Mapping[str, tuple[str, ...]]] = {
    "decimal": ("bytes", "fixed"),
    "big-decimal": ("bytes",),
    "uuid": ("string", "fixed"),
    "date": ("int",),
    "time-millis": ("int",),
    "time-micros": ("long",),
    "timestamp-millis": ("long",),
    "timestamp-micros": ("long",),
    "timestamp-nanos": ("long",),
    "local-timestamp-millis": ("long",),
    "local-timestamp-micros": ("long",),
    "local-timestamp-nanos": ("long",),
    "duration": ("fixed",),
}
_FIXED_SIZES: Final = {"uuid": 16, "duration": 12}
_PER_SECOND: Final = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}


class Logical(NamedTuple):
    """A logical type; precision and scale are a decimal's, in decimal digits."""

    name: str
    precision: int = 0
    scale: int = 0

    def __str__(self) -> str:
        if self.name == "decimal":
            return f"decimal({self.precision}, {self.scale})"
        return self.name


def logical_of(schema: Mapping[str, Any], kind: str, size: int = 0) -> Logical | None:
    """The logical type that readers heed on a type of this kind (and size, of a fixed).

    One that the specification does not know is kept by its name: somebody gave it a meaning.
    """
    name = schema.get("logicalType")
    if not isinstance(name, str):
        return None
    if name in _UNDERLYING and kind not in _UNDERLYING[name]:
        return None
    if kind == "fixed" and size != _FIXED_SIZES.get(name, size):
        return None
    if name != "decimal":
        return Logical(name)
    precision, scale = schema.get("precision"), schema.get("scale", 0)
    if type(precision) is not int or type(scale) is not int or precision < 1:
        return None
    if not 0 <= scale <= precision or (kind == "fixed" and precision > _digits(size)):
        return None
    return Logical(name, precision, scale)


def logical_difference(
    writer: Logical | None, reader: Logical | None
) -> tuple[FindingKind, str] | None:
    """What becomes of values that were written as one and are read as the other."""
    if writer == reader:
        return None
    if writer is None:
        return (
            FindingKind.LOGICAL_TYPE_ADDED,
            f"was written without a logical type and is read as {reader}: right only if that is "
            "what the values always meant",
        )
    if reader is None:
        return (
            FindingKind.LOGICAL_TYPE_REMOVED,
            f"was written as {writer} and is read without a logical type: readers that convert get "
            "the bare value",
        )
    if writer.name == reader.name == "decimal":
        return _decimals(writer, reader)
    return (
        FindingKind.LOGICAL_TYPE_CHANGED,
        f"was written as {writer} and is read as {reader}: the same bytes mean something else"
        f"{_factor(writer.name, reader.name)}",
    )


def _decimals(writer: Logical, reader: Logical) -> tuple[FindingKind, str]:
    both = f"was written as {writer} and is read as {reader}"
    if writer.scale != reader.scale:
        power = writer.scale - reader.scale
        factor = f"{10**power:,} times too large" if power > 0 else _small(10**-power)
        return (
            FindingKind.DECIMAL_SCALE,
            f"{both}: a reader that goes by its own schema gets values {factor}, and the "
            "specification says that the two do not match",
        )
    if reader.precision < writer.precision:
        return (
            FindingKind.DECIMAL_PRECISION,
            f"{both}: values of more than {reader.precision} digits do not fit the reader's type",
        )
    return (
        FindingKind.DECIMAL_WIDENED,
        f"{both}: every value fits, though the specification says that decimals of different "
        "precision do not match",
    )


def _factor(writer: str, reader: str) -> str:
    (kind_w, _, unit_w), (kind_r, _, unit_r) = writer.rpartition("-"), reader.rpartition("-")
    if kind_w != kind_r or not {unit_w, unit_r} <= _PER_SECOND.keys():
        return ""
    written, read = _PER_SECOND[unit_w], _PER_SECOND[unit_r]
    factor = f"{written // read:,} times too large" if written > read else _small(read // written)
    return f"; a reader that goes by its own schema gets values {factor}"


def _small(factor: int) -> str:
    return f"{factor:,} times too small"


def _digits(size: int) -> int:
    """How many decimal digits a two's-complement number of so many bytes always has room for."""
    return math.floor(math.log10(2) * (8 * size - 1)) if size else 0
