"""How commands that compare two sides show values, and how far they are."""

from __future__ import annotations

from typing import Any, Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from consumers.cli.output import stderr

VALUE_CHARS_MAX: Final = 200
"""Shown of one value; `--json` has it whole."""


def plain(value: Any) -> Text:
    """A value as it is, with no markup in it and no more of it than can be read."""
    text = value if isinstance(value, str) else str(value)
    kept = text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}…"
    return Text(kept, overflow="fold")


def progress_bar() -> Progress:
    """On stderr, gone when it is done."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
    )
