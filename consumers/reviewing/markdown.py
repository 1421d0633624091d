"""A review as Markdown, for a comment on a pull request. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from consumers.reviewing.review import Review
from consumers.reviewing.sections import (
    BAD,
    GOOD,
    LATE,
    Cell,
    Section,
    fold_section,
    looked_at,
    type_sections,
    verdict_of,
)

_SIGNS: Final = {GOOD: "✓ ", LATE: "△ ", BAD: "✕ "}
_TROUBLE: Final = str.maketrans({"|": "\\|", "\n": " ", "<": "&lt;", "*": "\\*", "_": "\\_"})


def markdown(review: Review) -> str:
    """The whole review."""
    return "\n".join(_lines(review)) + "\n"


def _lines(review: Review) -> Iterator[str]:
    yield f"# Schema review: {_text(verdict_of(review))}"
    yield ""
    yield f"`{review.base}` → `{review.head}`; {Cell(looked_at(review)).text.translate(_TROUBLE)}."
    for one in review.types:
        yield ""
        yield f"## {one.change.name} ({one.state})"
        for section in type_sections(one, looked=review.gathered is not None):
            yield from _section(section)
    if review.folds:
        yield from _section(fold_section(review.folds))


def _section(section: Section) -> Iterator[str]:
    yield ""
    if section.title:
        yield f"### {section.title}"
        yield ""
    if not section.head:
        for name, *said in section.rows:
            yield f"- **{_text(name)}**: {' '.join(map(_text, said))}"
        return
    yield f"| {' | '.join(name.translate(_TROUBLE) for name in section.head)} |"
    yield f"|{' --- |' * len(section.head)}"
    for row in section.rows:
        yield f"| {' | '.join(map(_text, row))} |"


def _text(cell: Cell) -> str:
    return f"{_SIGNS.get(cell.tone, '')}{cell.text.translate(_TROUBLE)}"
