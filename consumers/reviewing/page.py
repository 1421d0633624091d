"""A review as one page of HTML. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from consumers.pages import facts, page, table, text
from consumers.reviewing.cells import BAD, GOOD, Cell, Section
from consumers.reviewing.review import Review, TypeReview
from consumers.reviewing.sections import (
    last_sections,
    looked_at,
    notice_of,
    type_sections,
    verdict_of,
)
from consumers.reviewing.sides import ENVELOPE
from consumers.reviewing.sites import Happening

_STYLE: Final = Path(__file__).with_name("page.css")
_CHARS_MAX: Final = 1_000


def review_page(review: Review) -> str:
    """The whole page."""
    verdict = verdict_of(review)
    return page(
        f"Schema review: {_text(verdict.text)}",
        _STYLE,
        (
            "<main>",
            f'<header><h1 class="{verdict.tone}">{_text(verdict.text).capitalize()}</h1>',
            f'<p class="of"><code>{_text(review.base)}</code> → '
            f"<code>{_text(review.head)}</code> · {_text(looked_at(review))}</p></header>",
            *(f'<p class="notice">{_text(one)}</p>' for one in filter(None, [notice_of(review)])),
            _figures(review),
            *(line for one in review.types for line in _type(one, review)),
            *(line for section in last_sections(review) for line in _last(section)),
            f"<footer>agentlog schemas review · {_text(review.folder)}</footer></main>",
        ),
    )


def _figures(review: Review) -> str:
    types = review.types
    versions = [version for one in types for version in one.versions]
    found = [("", f"{len(types):,}", "types changed")]
    if review.gathered is not None:
        failed = sum(version.count(Happening.FAILED) for version in versions)
        changed = sum(version.count(Happening.VALUE_CHANGED) for version in versions)
        found += [
            ("", f"{review.gathered.evidence.records:,}", "records looked at"),
            # Those of the envelope are of any type.
            (
                "",
                f"{sum(it.records for it in types if it.change.name != ENVELOPE):,}",
                "of changed types",
            ),
            ("bad" if failed else "", f"{failed:,}", "cannot be read"),
            ("bad" if changed else "", f"{changed:,}", "read as another value"),
        ]
    found.append(("bad" if review.against else "", f"{review.against:,}", "against merging"))
    return facts(found)


def _type(one: TypeReview, review: Review) -> Iterator[str]:
    tone = BAD if one.against else GOOD
    yield f'<section class="type"><h2>{_text(one.change.name)} '
    yield f'<span class="state">{one.state}</span> '
    said = f"{len(one.against):,} against it" if one.against else "fine"
    yield f'<span class="{tone}">{said}</span></h2>'
    for section in type_sections(one, looked=review.gathered is not None):
        yield from _section(section)
    yield "</section>"


def _last(section: Section) -> Iterator[str]:
    yield f'<section class="type"><h2>{_text(section.title)}</h2>'
    yield from _section(section._replace(title=""))
    yield "</section>"


def _section(section: Section) -> Iterator[str]:
    if section.title:
        yield f"<h3>{_text(section.title)}</h3>"
    if section.head:
        names = [_text(name) for name in section.head]
        yield table(names, (map(_cell, row) for row in section.rows), "side")
        return
    rows = "".join(
        f"<dt>{_text(name.text)}</dt><dd>{' '.join(map(_cell, said))}</dd>"
        for name, *said in section.rows
    )
    yield f'<dl class="said">{rows}</dl>'


def _cell(cell: Cell) -> str:
    said = f"<bdi>{_text(cell.text)}</bdi>"
    return f'<span class="{cell.tone}">{said}</span>' if cell.tone else said


def _text(said: str) -> str:
    return text(said, _CHARS_MAX)
