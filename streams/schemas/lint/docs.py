"""Docs: whoever reads a record years later has nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from streams.schemas.lint.rules import Breach, Linted, Rule


def _types(linted: Linted) -> Iterator[Breach]:
    for site in linted.types:
        if site.node.kind == "record" and not str(site.node.schema.get("doc") or "").strip():
            yield Breach(site.path, f"record {site.node.last_name} has no doc")


def _fields(linted: Linted) -> Iterator[Breach]:
    for site in linted.fields:
        if not str(site.field.get("doc") or "").strip():
            yield Breach(site.path, "has no doc; say what it is, and in which unit")


RULES: Final = (
    Rule("type-doc", "A record says what has happened, or what is asked for.", _types),
    Rule("field-doc", "A field says what its name and type leave open.", _fields),
)
