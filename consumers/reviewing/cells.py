"""Cells and sections: what a review in words is made of, however it is shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

GOOD: Final = "good"
BAD: Final = "bad"
LATE: Final = "late"
PLAIN: Final = ""
ROWS_MAX: Final = 200
"""Rows of one table; JSON has them all."""


class Cell(NamedTuple):
    """A text, and whether it is good or bad news."""

    text: str
    tone: str = PLAIN


class Section(NamedTuple):
    """A table with a title; without a head its rows are names and what is said of them."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


def table(title: str, head: tuple[str, ...], rows: Iterable[tuple[Cell, ...]]) -> Section:
    """A section with as many of the rows as one table may have; the last says if there are more."""
    found = list(islice(rows, ROWS_MAX + 1))
    if len(found) > ROWS_MAX:
        rest = (Cell("") for _ in head[2:])
        found[ROWS_MAX:] = [(Cell("…"), Cell("there are more: --format json has them all"), *rest)]
    return Section(title, head, found)


def many_of(count: int, what: str, many: str = "") -> str:
    """`1 record`, `2 records`."""
    return f"{count:,} {what if count == 1 else many or what + 's'}"
