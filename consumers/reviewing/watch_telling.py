"""Telling: the lines of a watch that say what happens, and where.

What happens to every record alike needs no line: `always` has it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from consumers.reviewing.sites import Happening, Shown, Site
from consumers.reviewing.watch_parts import CONSTANTS, Reader, nothing
from streams.schemas.function_text import FunctionText


class Place(NamedTuple):
    """Where in the schemas, and in the text."""

    path: str
    depth: int
    always: bool = False
    """Whether every record comes by here."""
    checked: bool = True
    """Whether text is checked to be text."""
    open: tuple[tuple[int, int, int], ...] = ()
    """The records around it."""

    def inside(self, step: str, deeper: int = 0, *, always: bool = False) -> Place:
        """Further down both."""
        return self._replace(
            path=f"{self.path}{step}", depth=self.depth + deeper, always=self.always and always
        )


class TellingText(FunctionText):
    """A text that tells hits; `h` is what they are told to."""

    def __init__(self) -> None:
        super().__init__(CONSTANTS)
        self.sites: dict[tuple[Happening, str], Site] = {}
        self.always: dict[int, None] = {}

    def _site(self, happening: Happening, path: str, show: Callable[[Any], Shown]) -> int:
        key = happening, path
        if key not in self.sites:
            self.sites[key] = Site(happening, path, show)
        return list(self.sites).index(key)

    def hit(
        self, happening: Happening, at: Place, show: Callable[[Any], Shown], raw: str = "None"
    ) -> None:
        """Tell that it happens here; `raw`: the variable that has what is stored."""
        site = self._site(happening, at.path, show)
        if at.always and raw == "None":
            self.always[site] = None
        else:
            self.add(at.depth, f"h(({site}, {raw}))")

    def fail(self, at: Place, why: str) -> None:
        """Give the record up here."""
        site = self._site(Happening.FAILED, at.path, nothing)
        self.add(at.depth, f"raise Unreadable({site}, {self.constant(why)})")

    def mended(self, at: Place, t: Reader) -> None:
        """Tell that today's reader cannot read what is here, if it has no type for it."""
        if t is None:
            self.hit(Happening.MENDED, at, nothing)
