"""Fields: a walk through a function's syntax, for what it touches of a payload.

Every expression stands for symbols. One that stands for a part of a payload, and goes where the
walk cannot follow (into a comparison, a state, a function that is not Python), is touched as a
whole. Functions that it is handed to are walked through as well. So what is found is at least what
is read: a branch that never runs counts too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from consumers.usage.narrowing import Types
from consumers.usage.sources import Source
from consumers.usage.statements import Statements
from consumers.usage.symbols import NOTHING, PAYLOAD, Is, Symbol, Symbols

DEPTH_MAX: Final = 8
"""Calls that are followed into each other; what is handed deeper is touched as a whole."""


class Touched:
    """What of each type's payload is touched, and where the walk lost sight of it."""

    def __init__(self) -> None:
        self.whole: dict[str, set[str]] = {}
        """By type, paths that are touched with all that is below; empty: the payload itself."""
        self.itself: dict[str, set[str]] = {}
        """By type, paths of what is asked only whether it is there, or how much of it."""
        self.lost: dict[str, set[str]] = {}
        """By type, `name (file:line)` of what the payload was handed to."""

    def note(self, types: Types, symbol: Symbol, *, itself: bool = False) -> None:
        """A part of a payload is used."""
        if symbol.what is Is.PAYLOAD:
            for name in types:
                (self.itself if itself else self.whole).setdefault(name, set()).add(symbol.path)

    def lose(self, types: Types, symbol: Symbol, where: str) -> None:
        """A payload, or what has one, is handed to what cannot be read."""
        if symbol.what in {Is.CARRIER, Is.ENTRY, Is.ENTRIES}:
            symbol = PAYLOAD
        self.note(types, symbol)
        if symbol == PAYLOAD:
            for name in types:
                self.lost.setdefault(name, set()).add(where)


class Walk:
    """A walk through one function and all that it hands payloads to."""

    def __init__(self, kinds: Mapping[str, str], touched: Touched) -> None:
        self.kinds = kinds
        self.touched = touched
        self._under_way: set[tuple[Any, ...]] = set()

    def through(self, source: Source, given: Mapping[str, Symbols], types: Types) -> Symbols:
        """Walk a function whose parameters stand for these; gives what it returns."""
        key = (source.function, frozenset(given.items()), types)
        if key in self._under_way:
            return NOTHING
        if len(self._under_way) >= DEPTH_MAX:
            self.lose(types, given.values(), source.function.__qualname__, source.place)
            return NOTHING
        self._under_way.add(key)
        try:
            return Statements(self, source, given, types).run()
        finally:
            self._under_way.discard(key)

    def lose(self, types: Types, given: Iterable[Symbols], name: str, place: str) -> None:
        """Symbols are handed to what cannot be read."""
        for symbols in given:
            for symbol in symbols:
                self.touched.lose(types, symbol, f"{name} ({place})")
