"""Pages of HTML that need nothing else: no scripts, no fonts, no network. Pure.

What they all have: the frame, which forbids itself to load or run anything; the style (`base.css`,
light and dark) before a page's own; and texts of anybody's, escaped and without what would turn
the text around them.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Final

_STRANGE: Final = "\N{REPLACEMENT CHARACTER}"
_UNSEEN: Final = dict.fromkeys("\n\r\t", " ")
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"


def page(title: str, style: Path, body: Iterable[str]) -> str:
    """A whole page: `title` is HTML already, `style` a file of the page's own rules."""
    css = "".join(
        path.read_text(encoding="utf-8") for path in (Path(__file__).with_name("base.css"), style)
    )
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>",
            f"<style>{css}</style></head><body>",
            *body,
            "</body></html>\n",
        )
    )


def text(said: str, chars_max: int) -> str:
    """Anybody's text on one line, as HTML."""
    cut = said if len(said) <= chars_max else f"{said[: chars_max - 1]}…"
    return escape(on_one_line(cut))


def on_one_line(said: str) -> str:
    """A text without what would break its line, turn the text around it or speak to a terminal."""
    return "".join(one if one.isprintable() else _UNSEEN.get(one, _STRANGE) for one in said)


def facts(found: Iterable[tuple[str, str, str]]) -> str:
    """A row of figures: class (or nothing), the figure, what it is of."""
    items = (f'<li class="{kind}"><b>{n}</b><span>{what}</span></li>' for kind, n, what in found)
    return f'<ul class="facts">{"".join(items)}</ul>'


def table(names: Iterable[str], rows: Iterable[Iterable[str]], kind: str = "") -> str:
    """A table of cells that are HTML already; nothing, where there are no rows.

    Each cell has the name of its column, for styles that put cells below each other.
    """
    of = list(names)
    cells = (zip(of, row, strict=True) for row in rows)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in cells)
    if not body:
        return ""
    head = "".join(f"<th>{name}</th>" for name in of)
    named = f' class="{kind}"' if kind else ""
    return f'<div class="wide"><table{named}><tr>{head}</tr>{body}</table></div>'


def _cell(of: tuple[str, str]) -> str:
    return f'<td data-of="{of[0]}">{of[1]}</td>'
