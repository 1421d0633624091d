"""A parsed schema: types as objects, references resolved, so that recursion is a loop of them.

Two types are the same only if they are the same object; what equals what is for `pairs` to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from streams.schemas.compatibility.logical import Logical
from streams.schemas.compatibility.names import unqualified

NO_DEFAULT: Final = object()
"""What a field has that has no default; None is the default null."""


@dataclass(slots=True, eq=False)
class Primitive:
    """One of the eight primitive types."""

    kind: str
    logical: Logical | None = None


@dataclass(slots=True, eq=False)
class Array:
    """Items of one type."""

    items: AvroType
    kind: str = "array"


@dataclass(slots=True, eq=False)
class Map:
    """Values of one type by text."""

    values: AvroType
    kind: str = "map"


@dataclass(slots=True, eq=False)
class Union:
    """One of several types."""

    branches: tuple[AvroType, ...]
    kind: str = "union"


@dataclass(slots=True, eq=False)
class Enum:
    """One of several symbols; `default` stands in for those that a reader does not know."""

    name: str
    aliases: frozenset[str]
    symbols: tuple[str, ...]
    default: str | None
    kind: str = "enum"


@dataclass(slots=True, eq=False)
class Fixed:
    """So many bytes."""

    name: str
    aliases: frozenset[str]
    size: int
    logical: Logical | None = None
    kind: str = "fixed"


@dataclass(slots=True, eq=False)
class Field:
    """A field of a record; its default is JSON."""

    name: str
    type: AvroType
    aliases: tuple[str, ...] = ()
    default: Any = NO_DEFAULT

    @property
    def has_default(self) -> bool:
        """Whether a reader can do without a writer's field."""
        return self.default is not NO_DEFAULT


@dataclass(slots=True, eq=False)
class Record:
    """Fields by name; they are put in once they are known, for they may hold the record itself."""

    name: str
    aliases: frozenset[str]
    fields: dict[str, Field] = field(default_factory=dict)
    kind: str = "record"


Named = Record | Enum | Fixed
AvroType = Primitive | Array | Map | Union | Enum | Fixed | Record


class ParsedSchema:
    """A schema's root, every type that it names, and the JSON that it was."""

    def __init__(self, root: AvroType, named: dict[str, Named], json: Any) -> None:
        self.root = root
        self.json = json
        self.named = named

    @cached_property
    def alias_owners(self) -> dict[str, tuple[str, ...]]:
        """The types that claim a full name as an alias."""
        owners: dict[str, tuple[str, ...]] = {}
        for named in self.named.values():
            for alias in named.aliases:
                owners[alias] = (*owners.get(alias, ()), named.name)
        return owners


def label(type_: AvroType) -> str:
    """What a path calls a union's branch: a named type by its unqualified name."""
    return unqualified(type_.name) if isinstance(type_, Named) else type_.kind


def describe(type_: AvroType) -> str:
    """What a message calls a type."""
    if isinstance(type_, Named):
        return f"{type_.kind} {type_.name}"
    if isinstance(type_, Union):
        return f"union [{', '.join(label(branch) for branch in type_.branches)}]"
    return type_.kind
