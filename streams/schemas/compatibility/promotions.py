"""Promotions: which primitive type may be read as which other, and what gets lost on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

EXACT: Final = ""
_FLOAT: Final = "float holds whole numbers exactly up to 2^24 only: larger ones are rounded"
_DOUBLE: Final = "double holds whole numbers exactly up to 2^53 only: larger ones are rounded"

PROMOTIONS: Final[Mapping[tuple[str, str], str]] = {
    ("int", "long"): EXACT,
    ("int", "float"): _FLOAT,
    ("int", "double"): EXACT,
    ("long", "float"): _FLOAT,
    ("long", "double"): _DOUBLE,
    ("float", "double"): EXACT,
    ("string", "bytes"): (
        "the reader gets the text's bytes as they are, and nothing checks that they are UTF-8"
    ),
    ("bytes", "string"): (
        "bytes that are not UTF-8 are no text: readers fail on them or replace them"
    ),
}
"""What a promotion from writer to reader loses, `EXACT` if nothing (section "Schema Resolution")"""
