"""What the commands print, and where: results on stdout, everything else on stderr.

With `--json` stdout is exactly one JSON object (`emit`), or one per line where a list streams
(`emit_line`).
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgspec
from rich.console import Console

stderr: Final = Console(stderr=True, highlight=False, emoji=False)
"""For people: progress, notices, errors."""

stdout: Final = Console(highlight=False, emoji=False)
"""For people: results."""


def emit(document: Any) -> None:
    """Print one JSON object, and nothing else, on stdout."""
    raw = msgspec.json.format(msgspec.json.encode(document), indent=2)
    sys.stdout.write(raw.decode() + "\n")


def emit_line(document: Any) -> None:
    """Print one JSON object as one line on stdout, at once."""
    sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    sys.stdout.flush()
