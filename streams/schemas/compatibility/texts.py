"""Texts: a schema as it stands in a file, so that what is wrong with it has a line and a column."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from streams.schemas.compatibility.model import ParsedSchema
from streams.schemas.compatibility.parsing import NESTING_MAX, InvalidSchema, Path, parse_schema

BOM: Final = "\ufeff"
"""How some editors begin a text. It is no JSON, and a parser may pass over it (RFC 8259, 8.1)."""
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_HALF: Final = re.compile(r"\\u[dD]")


def parse_text(text: str, source: str, *, first_line: int = 1) -> ParsedSchema:
    """The types of a schema that stands in `source`, from `first_line` on.

    Raises `InvalidSchema`, whose source is `source:line:column`.
    """
    schema = read_json(text, source, first_line=first_line)
    try:
        return parse_schema(schema)
    except InvalidSchema as error:
        raise located(error, text, source, first_line=first_line) from error


def read_json(text: str, source: str, *, first_line: int = 1) -> Any:
    """The JSON value that a text holds. Raises `InvalidSchema` with line and column."""
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        where = f"{source}:{first_line + error.lineno - 1}:{error.colno}"
        raise InvalidSchema((), f"not JSON: {error.msg}", where) from error
    except RecursionError as error:
        where = f"{source}:{first_line}:1"
        raise InvalidSchema((), f"nested deeper than {NESTING_MAX}", where) from error
    except ValueError as error:
        raise InvalidSchema((), f"not JSON: {error}", f"{source}:{first_line}:1") from error
    if _HALF.search(text):
        _require_text(value, text, source, first_line)
    return value


def located(
    error: InvalidSchema, text: str, source: str, *, first_line: int = 1, below: Path = ()
) -> InvalidSchema:
    """The error with the line and column of its place; `below` is where the schema's JSON hangs."""
    at = _position(text, (*below, *error.keys))
    return InvalidSchema(error.keys, error.problem, _place(text, at, source, first_line))


def _place(text: str, at: int, source: str, first_line: int) -> str:
    line = text.count("\n", 0, at)
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    return f"{source}:{first_line + line}:{column}"


def _require_text(value: Any, text: str, source: str, first_line: int) -> None:
    """JSON may spell half of a character, which no text has and nothing can write."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        where = _place(text, text.lower().find(half), source, first_line)
        raise InvalidSchema((), f"{half} is half of a character", where) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_DECODER: Final = json.JSONDecoder(parse_constant=_no_constant)


def _position(text: str, path: Path) -> int:
    """Where the value at a path begins in JSON text; of a path that ends early, its last value."""
    at = _skip(text, 0)
    for key in path:
        inner = _member(text, at, key)
        if inner is None:
            break
        at = inner
    return at


def _member(text: str, at: int, key: str | int) -> int | None:
    """Where the value of a key or index begins, in the object or array that begins at `at`."""
    decode = json.JSONDecoder().raw_decode
    is_object, found, n = text[at] == "{", None, 0
    if not is_object and text[at] != "[":
        return None
    end = "}" if is_object else "]"
    at = _skip(text, at + 1)
    while text[at] != end:
        name: str | int = n
        if is_object:
            name, at = decode(text, at)
            at = _skip(text, _skip(text, at) + 1)
        if name == key:
            found = at  # of a key that is there twice, the last one counts
        _, at = decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
        n += 1
    return found


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
