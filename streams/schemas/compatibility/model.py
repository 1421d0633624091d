"""A parsed schema: types as objects, references resolved, so that recursion is a loop of them.

Two named types are the same only if they are the same object; what equals what is for `pairs` to
say. Types without a name may be shared, for nothing tells one from another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

from streams.schemas.compatibility.logical import Logical
from streams.schemas.compatibility.names import unqualified
from streams.schemas.compatibility.promotions import PROMOTIONS

NO_DEFAULT: Final = object()
"""What a field has that has no default; None is the default null."""
PLAIN_CHARS_MAX: Final = 2_000
"""A type that takes more to tell is not plain."""


@dataclass(slots=True, eq=False)
class Primitive:
    """One of the eight primitive types."""

    kind: str
    logical: Logical | None = None
    plain: str = field(init=False)
    """Of two types of the same `plain` there is nothing to say; empty where that is not known."""

    def __post_init__(self) -> None:
        self.plain = f"{self.kind} {self.logical}" if self.logical else self.kind


@dataclass(slots=True, eq=False)
class Array:
    """Items of one type."""

    items: AvroType
    kind: str = "array"
    plain: str = field(init=False)

    def __post_init__(self) -> None:
        self.plain = self.items.plain and f"[{self.items.plain}]"


@dataclass(slots=True, eq=False)
class Map:
    """Values of one type by text."""

    values: AvroType
    kind: str = "map"
    plain: str = field(init=False)

    def __post_init__(self) -> None:
        self.plain = self.values.plain and f"{{{self.values.plain}}}"


@dataclass(slots=True, eq=False)
class Union:
    """One of several types."""

    branches: tuple[AvroType, ...]
    kind: str = "union"
    plain: str = field(init=False, default="")
    _labels: tuple[str, ...] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        kinds = [branch.kind for branch in self.branches]
        # Where a branch is promotable to one before it, even the union itself is read otherwise.
        moves = any(
            (kind, earlier) in PROMOTIONS for n, kind in enumerate(kinds) for earlier in kinds[:n]
        )
        names = [unqualified(one.name) for one in self.branches if isinstance(one, Named)]
        if not moves and len(set(names)) == len(names):
            self.plain = _joined("union", [branch.plain for branch in self.branches])

    @property
    def labels(self) -> tuple[str, ...]:
        """What a path calls each branch: by its full name where another one has the same."""
        if self._labels is None:
            short = [label(branch) for branch in self.branches]
            self._labels = tuple(
                name if short.count(name) < 2 else describe(branch).rpartition(" ")[2]
                for name, branch in zip(short, self.branches, strict=True)
            )
        return self._labels


@dataclass(slots=True, eq=False)
class Enum:
    """One of several symbols; `default` stands in for those that a reader does not know."""

    name: str
    aliases: frozenset[str]
    symbols: tuple[str, ...]
    default: str | None
    kind: str = "enum"
    plain: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if not self.aliases:
            self.plain = _joined(f"enum {self.name}", self.symbols)


@dataclass(slots=True, eq=False)
class Fixed:
    """So many bytes."""

    name: str
    aliases: frozenset[str]
    size: int
    logical: Logical | None = None
    kind: str = "fixed"
    plain: str = field(init=False, default="")

    def __post_init__(self) -> None:
        if not self.aliases:
            self.plain = f"fixed {self.name} {self.size} {self.logical}"


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
    plain: str = ""
    """Set once the fields are known; a record within itself is not plain."""

    def complete(self) -> None:
        """All fields are known."""
        fields = self.fields.values()
        if not self.aliases and not any(one.aliases for one in fields):
            each = [one.type.plain and f"{one.name} {one.type.plain}" for one in fields]
            self.plain = _joined(f"record {self.name}", each)


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


def says_nothing(writer: AvroType, reader: AvroType) -> bool:
    """Whether one look shows that there is nothing to say of two types or of what is in them.

    Only if no other type of the reader's schema claims a name of theirs as its alias.
    """
    return bool(reader.plain) and reader.plain == writer.plain


def _joined(head: str, parts: Sequence[str]) -> str:
    """What tells a type; empty if that is not known of a part, or is long."""
    if not all(parts) or sum(map(len, parts)) > PLAIN_CHARS_MAX:
        return ""
    return f"{head} ({', '.join(parts)})"


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
