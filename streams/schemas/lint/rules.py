"""What a rule is, and what it looks at."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from streams.schemas.walking import FieldSite, Names, Node, TypeSite, branches, fields_of, types_of

_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+")
NUMBERS: Final = frozenset({"int", "long", "float", "double"})


class Breach(NamedTuple):
    """A rule that is broken, and where."""

    path: str
    """Empty: the type itself."""
    problem: str
    """What is wrong and the way out, as a clause: the path goes before it."""


class Linted(msgspec.Struct, frozen=True):
    """One type, as rules look at it."""

    name: str
    names: Names
    fields: tuple[FieldSite, ...]
    types: tuple[TypeSite, ...]
    reserved: frozenset[str]
    """What fields of the payload itself may not be called."""
    personal_data: frozenset[str]
    """Paths that `subjects.toml` says hold data about people."""
    elsewhere: Mapping[str, str]
    """Named types that another type defines differently, and which type that is."""

    @classmethod
    def of(
        cls,
        name: str,
        schema: Any,
        *,
        reserved: Iterable[str] = (),
        personal_data: Iterable[str] = (),
        elsewhere: Mapping[str, str] | None = None,
    ) -> Linted:
        """A whole schema, walked once for all rules."""
        names = Names(schema)
        return cls(
            name,
            names,
            tuple(fields_of(names)),
            tuple(types_of(names)),
            frozenset(reserved),
            frozenset(personal_data),
            elsewhere or {},
        )


class Rule(msgspec.Struct, frozen=True):
    """One rule."""

    id: str
    """Short and stable: waivers name it."""
    reason: str
    """Why it is one, in a sentence."""
    check: Callable[[Linted], Iterator[Breach]]


def word_set(text: str) -> frozenset[str]:
    """The words of a text, for a table of them."""
    return frozenset(text.split())


def words_of(name: str) -> tuple[str, ...]:
    """The words of a name in either style, in small letters."""
    return tuple(word.lower() for word in _WORD.findall(name))


def leaves(names: Names, node: Node) -> Iterator[Node]:
    """What values of a field are made of: through unions, arrays and maps, but for null."""
    match node.kind:
        case "union":
            for branch in branches(names, node):
                yield from leaves(names, branch)
        case "array":
            yield from leaves(names, names.node(node.schema["items"], node.namespace))
        case "map":
            yield from leaves(names, names.node(node.schema["values"], node.namespace))
        case "null":
            pass
        case _:
            yield node
