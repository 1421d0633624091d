"""Alike: whether two schemas say the same to readers, so that there is nothing to resolve.

Docs, sort orders, attributes that the specification does not know and the spelling of names are
nothing to a reader: who has read records with one of two such schemas reads them with the other
(section "Parsing Canonical Form for Schemas"). Logical types, aliases and defaults count.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.schemas.compatibility.model import (
    Array,
    AvroType,
    Enum,
    Fixed,
    Map,
    Named,
    ParsedSchema,
    Primitive,
    Record,
    Union,
)


def is_alike(writer: ParsedSchema, reader: ParsedSchema) -> bool:
    """Whether two schemas differ in nothing that a reader heeds; the first difference ends it."""
    waiting, met = [(writer.root, reader.root)], set()
    while waiting:
        one, other = waiting.pop()
        if one is other or (id(one), id(other)) in met:
            continue
        met.add((id(one), id(other)))
        inside, others = _inside(one), _inside(other)
        if len(inside) != len(others) or _heeded(one) != _heeded(other):
            return False
        waiting += zip(inside, others, strict=True)
    return True


def _heeded(type_: AvroType) -> list[Any]:
    """What a reader heeds of a type, but for the types inside."""
    named = [type_.kind, type_.name, type_.aliases] if isinstance(type_, Named) else [type_.kind]
    match type_:
        case Primitive():
            return [*named, type_.logical]
        case Enum():
            return [*named, type_.symbols, type_.default]
        case Fixed():
            return [*named, type_.size, type_.logical]
        case Record():
            return [*named, *((it.name, it.aliases, it.default) for it in type_.fields.values())]
        case _:
            return named


def _inside(type_: AvroType) -> Sequence[AvroType]:
    match type_:
        case Array():
            return [type_.items]
        case Map():
            return [type_.values]
        case Union():
            return type_.branches
        case Record():
            return [field.type for field in type_.fields.values()]
        case _:
            return []
