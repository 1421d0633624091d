"""Names: one style for all, none that means two things."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from streams.schemas.lint.rules import Breach, Linted, Rule

_PASCAL: Final = re.compile(r"[A-Z][A-Za-z0-9]*")
_SNAKE: Final = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_UPPER: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
_NAMESPACE: Final = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
_ENVELOPE: Final = "Envelope"


def _type_names(linted: Linted) -> Iterator[Breach]:
    for site in linted.types:
        if not _PASCAL.fullmatch(site.node.last_name):
            yield Breach(site.path, f"{site.node.last_name} is not written LikeThis")


def _field_names(linted: Linted) -> Iterator[Breach]:
    for site in linted.fields:
        if not _SNAKE.fullmatch(site.field["name"]):
            yield Breach(site.path, "is not written like_this")


def _symbols(linted: Linted) -> Iterator[Breach]:
    for site in linted.types:
        symbols = site.node.schema.get("symbols", ())
        if not any(all(map(style.fullmatch, symbols)) for style in (_SNAKE, _UPPER)):
            yield Breach(site.path, f"symbols of {site.node.last_name} are in several styles")


def _namespaces(linted: Linted) -> Iterator[Breach]:
    for site in linted.types:
        if not _NAMESPACE.fullmatch(site.node.namespace):
            yield Breach(site.path, f"{site.node.name} has no namespace of small letters")


def _reserved(linted: Linted) -> Iterator[Breach]:
    if linted.reserved and linted.name.endswith(_ENVELOPE):
        yield Breach("", f"a name that ends with {_ENVELOPE} is a writer schema's, not a payload's")
    for site in linted.fields:
        if site.depth == 0 and site.field["name"] in linted.reserved:
            yield Breach(site.path, "is a field of the envelope; call it what it is of")


def _definitions(linted: Linted) -> Iterator[Breach]:
    for site in linted.types:
        if other := linted.elsewhere.get(site.node.name):
            yield Breach(site.path, f"{site.node.name} is something else in {other}")


RULES: Final = (
    Rule("type-name", "Generated classes are called after types.", _type_names),
    Rule("field-name", "Columns and attributes are called after fields.", _field_names),
    Rule("symbol-name", "Who writes a symbol should not have to look it up.", _symbols),
    Rule(
        "namespace-name",
        "A namespace becomes a package, and a type without one meets others of its name.",
        _namespaces,
    ),
    Rule(
        "reserved-name",
        "Envelope and payload stand side by side in columns and in queries: one name there must "
        "not mean two things.",
        _reserved,
    ),
    Rule(
        "one-definition",
        "Registries and code generators know one schema per full name.",
        _definitions,
    ),
)
