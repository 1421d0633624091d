"""Symbols: what an expression stands for, as far as payloads go."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

ITEM: Final = "[]"
"""What a path has for an item of an array and a value of a map alike."""


class Is(Enum):
    """What a symbol is."""

    PAYLOAD = auto()
    """A payload, or what is at `path` in it."""
    CARRIER = auto()
    """What has a payload: an envelope, a context, a command, an event."""
    ENTRY = auto()
    """A record and its envelope."""
    ENTRIES = auto()
    """Several of these, to be iterated over."""
    TYPE = auto()
    """The payload type's name, of the record at hand."""
    KIND = auto()
    """Its envelope's kind."""
    BY_TYPE = auto()
    """What a table has for the type at hand: `value` is the table."""
    OBJECT = auto()
    """Something that is known already: `value`."""


@dataclass(frozen=True, slots=True, eq=False)
class Symbol:
    """One thing that an expression may stand for. Two of one object are the same."""

    what: Is
    path: str = ""
    value: Any = None

    def __hash__(self) -> int:
        return hash((self.what, self.path, id(self.value)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Symbol) and (
            (self.what, self.path) == (other.what, other.path) and self.value is other.value
        )


Symbols = frozenset[Symbol]
NOTHING: Final[Symbols] = frozenset()
CARRIER: Final = Symbol(Is.CARRIER)
ENTRIES: Final = Symbol(Is.ENTRIES)
PAYLOAD: Final = Symbol(Is.PAYLOAD)


def attribute(symbol: Symbol, name: str) -> Symbols:
    """What an attribute of it stands for; of an object, that is for `sources` to say."""
    if symbol.what is Is.ENTRY:
        return frozenset({CARRIER}) if name == "envelope" else NOTHING
    if symbol.what is not Is.CARRIER:
        return NOTHING
    found = {
        "payload": PAYLOAD,
        "envelope": CARRIER,
        "type": Symbol(Is.TYPE),
        "kind": Symbol(Is.KIND),
    }.get(name)
    return frozenset({found}) if found else NOTHING


def item(symbol: Symbol, key: Any = None) -> Symbols:
    """What a subscript or one turn of a loop stands for; `key` is None where it is not known."""
    if symbol.what is Is.ENTRIES:
        return frozenset({Symbol(Is.ENTRY)})
    if symbol.what is Is.ENTRY:
        return frozenset({CARRIER}) if key in {1, -1} else NOTHING
    if symbol.what is not Is.PAYLOAD:
        return NOTHING
    if isinstance(key, str):
        return frozenset({Symbol(Is.PAYLOAD, f"{symbol.path}.{key}" if symbol.path else key)})
    return frozenset({Symbol(Is.PAYLOAD, symbol.path + ITEM)})
