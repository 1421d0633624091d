"""How commands that compare two sides show their values."""

from __future__ import annotations

from typing import Any, Final

from rich.text import Text

VALUE_CHARS_MAX: Final = 200
"""Shown of one value; `--json` has it whole."""


def plain(value: Any) -> Text:
    """A value as it is, with no markup in it and no more of it than can be read."""
    text = value if isinstance(value, str) else str(value)
    kept = text if len(text) <= VALUE_CHARS_MAX else f"{text[:VALUE_CHARS_MAX]}…"
    return Text(kept, overflow="fold")
