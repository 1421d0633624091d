"""Leaves: what may happen to one stored number, text or symbol that two readers take."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from consumers.reviewing.sites import Happening, Shown, meaning, text_of, told
from streams.schemas.compatibility.logical import Logical
from streams.schemas.compatibility.model import AvroType, Enum, Fixed, Primitive

_EXACT_UP_TO: Final = {"float": 1 << 24, "double": 1 << 53}
_WHOLE: Final = ("int", "long")


class Check(NamedTuple):
    """A condition on a stored value, and what happens where it holds."""

    happening: Happening
    text: Callable[[str, Callable[[Any], str]], str]
    """From the variable that has the value, and what names constants, to Python."""
    why: str = ""


class Leaf(NamedTuple):
    """What there is to check of one value; nothing, mostly."""

    checks: tuple[Check, ...]
    show: Callable[[Any], Shown]


class Symbol(NamedTuple):
    """What becomes of one of the writer's symbols."""

    fails: bool
    happenings: tuple[Happening, ...]
    readings: tuple[str, str]


def leaf_of(w: Primitive | Fixed, t: AvroType | None, c: AvroType | None) -> Leaf:
    """The checks of a value of the writer's type; None: a reader that passes it over."""
    if not isinstance(c, (Primitive, Fixed)):
        return Leaf((), _same)
    today = t if isinstance(t, (Primitive, Fixed)) else None
    checks = []
    if w.kind == "bytes" and c.kind == "string":
        why = "the stored bytes are not UTF-8, so they are no text"
        checks.append(Check(Happening.FAILED, _calling(_is_no_text), why))
    if _loses(w.kind, c.kind):
        checks.append(Check(Happening.LOSSY_PROMOTION, _beyond(c.kind)))
    if today is not None and _may_differ(w, today, c):
        checks.append(Check(Happening.VALUE_CHANGED, _differing(w, today, c)))
    return Leaf(tuple(checks), _showing(w, today, c))


def symbol_table(w: Enum, t: Enum | None, c: Enum | None) -> dict[int, Symbol]:
    """By its place, each symbol that is not simply read as what it is."""
    found = {}
    for n, symbol in enumerate(w.symbols):
        was, now = (_symbol(symbol, one) for one in (t, c))
        happenings = []
        if c is not None and now != symbol:
            happenings.append(Happening.ENUM_SUBSTITUTED)
        if t is not None and was is None:
            happenings.append(Happening.MENDED)
        elif t is not None and c is not None and was != now:
            happenings.append(Happening.VALUE_CHANGED)
        if happenings:
            fails = c is not None and now is None
            found[n] = Symbol(fails, tuple(happenings), (was or "–", now or "–"))
    return found


def _symbol(symbol: str, reader: Enum | None) -> str | None:
    if reader is None:
        return None
    return symbol if symbol in reader.symbols else reader.default


def _loses(written: str, read: str) -> bool:
    return written in _WHOLE and (read == "float" or (written, read) == ("long", "double"))


def _beyond(kind: str) -> Callable[[str, Callable[[Any], str]], str]:
    bound = _EXACT_UP_TO[kind]

    def text(v: str, constant: Callable[[Any], str]) -> str:
        return f"not -{bound} <= {v} <= {bound} and {constant(_is_rounded[kind])}({v})"

    return text


def _calling(function: Callable[[Any], bool]) -> Callable[[str, Callable[[Any], str]], str]:
    return lambda v, constant: f"{constant(function)}({v})"


def _may_differ(w: Primitive | Fixed, t: Primitive | Fixed, c: Primitive | Fixed) -> bool:
    if t.logical is not None and c.logical is not None and t.logical != c.logical:
        return bool(meaning(t.logical, _sample(w)) != meaning(c.logical, _sample(w)))
    return (
        t.kind != c.kind and w.kind in _WHOLE and (_loses(w.kind, t.kind) or _loses(w.kind, c.kind))
    )


def _sample(w: Primitive | Fixed) -> Any:
    """A value that means different things wherever two logical types do."""
    if isinstance(w, Fixed):
        return bytes(w.size - 1) + b"\1" if w.size else b""
    return {"int": 1, "long": 1, "bytes": b"\1", "string": "1"}.get(w.kind)


def _differing(
    w: Primitive | Fixed, t: Primitive | Fixed, c: Primitive | Fixed
) -> Callable[[str, Callable[[Any], str]], str]:
    today, candidate = _reading(w, t), _reading(w, c)
    if w.kind in _WHOLE and _is_scaled(t.logical, c.logical):
        return lambda v, constant: v  # noqa: ARG005  # every value but 0 differs
    return _calling(lambda raw: today(raw) != candidate(raw))


def _is_scaled(t: Logical | None, c: Logical | None) -> bool:
    """Whether two logical types differ in nothing but their unit."""
    if t is None or c is None:
        return False
    (one, _, a), (two, _, b) = t.name.rpartition("-"), c.name.rpartition("-")
    return bool(one) and one == two and a != b


def _reading(w: Primitive | Fixed, reader: Primitive | Fixed) -> Callable[[Any], Any]:
    """From a stored value to what a reader makes of it, so that equal ones compare equal."""
    promoted = _promoting(w.kind, reader.kind)
    return lambda raw: meaning(reader.logical, promoted(raw))


def _promoting(written: str, read: str) -> Callable[[Any], Any]:
    if written in _WHOLE and read in {"float", "double"}:
        return _single if read == "float" else float
    return lambda raw: raw


def _showing(
    w: Primitive | Fixed, t: Primitive | Fixed | None, c: Primitive | Fixed
) -> Callable[[Any], Shown]:
    def show(raw: Any) -> Shown:
        candidate = told(c.logical, _promoting(w.kind, c.kind)(raw))
        if t is None:
            return Shown(text_of(raw), candidate)
        return Shown(told(t.logical, _promoting(w.kind, t.kind)(raw)), candidate)

    return show


def _single(value: int) -> float:
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.inf


def _same(raw: Any) -> Shown:
    return Shown(text_of(raw), text_of(raw))


def _is_no_text(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return True
    return False


_is_rounded: Final[dict[str, Callable[[int], bool]]] = {
    "float": lambda value: _single(value) != value,
    "double": lambda value: float(value) != value,
}
