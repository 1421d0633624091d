"""What is wrong with an S3 message, in words: pydantic's findings as sentences with a path.

`payload.task.priority: must be at most 5, not 9`. Two texts are the S3 document's own: `Missing
required field: to` and `Invalid message type: X`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pydantic_core import ErrorDetails

from streams.messages.models import INSTANT_FORM

SHOWN_MAX: Final = 60
"""Characters of an offending value that are quoted."""

_Say = Callable[[ErrorDetails], str]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"


def _always(text: str) -> _Say:
    return lambda _: text


def _must(what: str) -> _Say:
    return lambda error: f"must be {what}, not {_shown(error['input'])}"


def _limit(words: str, bound: str) -> _Say:
    return lambda error: f"must be {words} {error['ctx'][bound]}, not {_shown(error['input'])}"


_INTEGER: Final = _must("an integer")
_OBJECT: Final = _must("an object")
_TIME: Final = _must(INSTANT_FORM)

_SAY: Final[Mapping[str, _Say]] = {
    "missing": _always("is missing"),
    "extra_forbidden": _always("unknown field"),
    "int_type": _INTEGER,
    "int_from_float": _INTEGER,
    "int_parsing_size": _INTEGER,
    "float_type": _must("a number"),
    "finite_number": _must("a finite number"),
    "bool_type": _must("true or false"),
    "string_type": _must("a string"),
    "string_too_short": _always("is empty"),
    "string_pattern_mismatch": lambda error: (
        f"{_shown(error['input'])} is not msg-<13 digits>-<9 of a-z0-9>"
    ),
    "list_type": _must("an array"),
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "datetime_type": _TIME,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
    "timezone_aware": _TIME,
    "greater_than_equal": _limit("at least", "ge"),
    "less_than_equal": _limit("at most", "le"),
    "literal_error": lambda error: (
        f"{_shown(error['input'])} is not {str(error['ctx']['expected']).replace(chr(39), '')}"
    ),
    "value_error": lambda error: str(error["ctx"]["error"]),
}

_REQUIRED: Final = ("to", "type", "payload")
_ALWAYS_REQUIRED: Final = frozenset({"id", "from", "to", "type", "timestamp", "payload"})


def problems(errors: Sequence[ErrorDetails]) -> tuple[str, ...]:
    """One sentence per finding of the message adapter, in the fields' order."""
    return tuple(dict.fromkeys(text for error in errors for text in _sentences(error)))


def missing(field: str) -> str:
    """S3.4's text."""
    return f"Missing required field: {field}"


def _sentences(error: ErrorDetails) -> tuple[str, ...]:
    match error["type"]:
        case "json_invalid":
            return (f"not JSON: {error['ctx']['error']}",)
        case "union_tag_invalid" | "union_tag_not_found":
            return _bad_type(error["input"])
        case "model_type" | "model_attributes_type" | "dict_type" if len(error["loc"]) <= 1:
            return (f"a message must be an object, not {_shown(error['input'])}",)
    # The first part of the location is the union's tag, the message type.
    path = _path(error["loc"][1:])
    if path in _ALWAYS_REQUIRED and (error["type"] == "missing" or error["input"] in (None, "")):
        return (missing(path),)
    say = _SAY.get(error["type"])
    return (f"{path}: {say(error) if say else error['msg'].lower()}",)


def _bad_type(message: Any) -> tuple[str, ...]:
    if not isinstance(message, dict):
        return (f"a message must be an object, not {_shown(message)}",)
    gone = tuple(missing(field) for field in _REQUIRED if message.get(field) in (None, ""))
    if message.get("type") in (None, ""):
        return gone
    said = str(message["type"])
    return (*gone, f"Invalid message type: {said[:SHOWN_MAX]}{'…' * (len(said) > SHOWN_MAX)}")


_BRANCHES: Final = ("constrained-", "function-", "list[", "dict[")
_BRANCH_NAMES: Final = frozenset({"str", "int", "none"})


def _path(location: Sequence[str | int]) -> str:
    """`task.dependencies[2]`, without the names that pydantic gives a union's branches."""
    text = ""
    for n, part in enumerate(location):
        if isinstance(part, int):
            text += f"[{part}]"
        elif not (n and (part in _BRANCH_NAMES or part.startswith(_BRANCHES))):
            text += f".{part}"
    return text.removeprefix(".")
