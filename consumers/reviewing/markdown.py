"""A review as Markdown, for a comment on a pull request. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from consumers.pages import on_one_line
from consumers.reviewing.cells import BAD, GOOD, LATE, Cell, Section
from consumers.reviewing.review import Review
from consumers.reviewing.sections import (
    last_sections,
    looked_at,
    notice_of,
    type_sections,
    verdict_of,
)

_SIGNS: Final = {GOOD: "✓ ", LATE: "△ ", BAD: "✕ "}
_TROUBLE: Final = str.maketrans(
    {one: f"\\{one}" for one in r"\`*_[]|~$"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
)
"""What Markdown, or a forge's own, makes something of."""


def markdown(review: Review) -> str:
    """The whole review."""
    return "\n".join(_lines(review)) + "\n"


def _lines(review: Review) -> Iterator[str]:
    yield f"# Schema review: {_text(verdict_of(review))}"
    yield ""
    names = f"{_plain(review.base)} → {_plain(review.head)}"
    yield f"{names}; {_plain(looked_at(review))}."
    if notice := notice_of(review):
        yield ""
        yield f"**{_SIGNS[LATE]}{_plain(notice)}**"
    for one in review.types:
        yield ""
        yield f"## {_plain(one.change.name)} ({one.state})"
        for section in type_sections(one, looked=review.gathered is not None):
            yield from _section(section, "###")
    for section in last_sections(review):
        yield from _section(section, "##")


def _section(section: Section, level: str) -> Iterator[str]:
    yield ""
    if section.title:
        yield f"{level} {section.title}"
        yield ""
    if not section.head:
        for name, *said in section.rows:
            yield f"- **{_text(name)}**: {' '.join(map(_text, said))}"
        return
    yield f"| {' | '.join(map(_plain, section.head))} |"
    yield f"|{' --- |' * len(section.head)}"
    for row in section.rows:
        yield f"| {' | '.join(map(_text, row))} |"


def _text(cell: Cell) -> str:
    return f"{_SIGNS.get(cell.tone, '')}{_plain(cell.text)}"


def _plain(text: str) -> str:
    """Anybody's text on one line, as Markdown that shows it as it is."""
    return on_one_line(text).translate(_TROUBLE)
