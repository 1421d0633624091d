"""Evolution: what makes the next version easy, while it costs nothing yet."""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType
from typing import Any, Final

from streams.schemas.lint.rules import Breach, Linted, Rule
from streams.schemas.walking import Node, branches

_JSON: Final[dict[str, tuple[type[Any], ...]]] = {
    "null": (NoneType,),
    "boolean": (bool,),
    "int": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "string": (str,),
    "bytes": (str,),
    "fixed": (str,),
    "array": (list,),
    "map": (dict,),
    "record": (dict,),
}


def _nullable(linted: Linted) -> Iterator[Breach]:
    for site in linted.fields:
        among = branches(linted.names, site.node)
        if any(one.kind == "null" for one in among) and "default" not in site.field:
            yield Breach(site.path, "may be null and has no default; give it null")


def _first_branch(linted: Linted) -> Iterator[Breach]:
    for site in linted.fields:
        if site.node.kind != "union" or "default" not in site.field:
            continue
        first = branches(linted.names, site.node)[0]
        if not _may_be(first, site.field["default"]):
            yield Breach(site.path, "has a default that is not of its union's first branch")


def _may_be(node: Node, default: Any) -> bool:
    """Whether JSON of this sort is of this type; what is inside of it is for the parser."""
    if node.kind == "enum":
        return default in node.schema["symbols"]
    if isinstance(default, bool):
        return node.kind == "boolean"
    return isinstance(default, _JSON[node.kind])


def _enum_default(linted: Linted) -> Iterator[Breach]:
    for site in linted.types:
        if site.node.kind == "enum" and "default" not in site.node.schema:
            yield Breach(
                site.path,
                f"enum {site.node.last_name} has no default symbol; give it one, as in `unknown`",
            )


RULES: Final = (
    Rule(
        "nullable-default",
        "Only a field with a default can be left out, and taken away later.",
        _nullable,
    ),
    Rule(
        "default-first-branch",
        "Avro before 1.12 takes a union's default for its first branch, and refuses another.",
        _first_branch,
    ),
    Rule(
        "enum-default",
        "A reader without a default symbol cannot read symbols that are added later.",
        _enum_default,
    ),
)
