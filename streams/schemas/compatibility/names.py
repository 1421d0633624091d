"""Names of Avro types: full names, namespaces, aliases, and what is no name (section "Names").

A name with a dot is a full name and its namespace attribute is ignored; one without takes the
namespace given, else that of the type around it. An alias without a dot is relative to the
namespace of the name that it is an alias for (section "Aliases").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PRIMITIVES: Final = frozenset(
    {"null", "boolean", "int", "long", "float", "double", "bytes", "string"}
)


def is_name(text: str) -> bool:
    """Whether a field, a symbol or a type without its namespace may be called so."""
    return text.isascii() and text.isidentifier()


def is_full_name(text: str) -> bool:
    """Whether it is names between dots."""
    return all(is_name(part) for part in text.split("."))


def full_name(name: str, namespace: str) -> str:
    """The name within a namespace; one with a dot is a full name already."""
    return name if "." in name or not namespace else f"{namespace}.{name}"


def namespace_within(definition: Mapping[str, Any], namespace: str) -> Any:
    """The namespace that a definition gives itself, else the one around it.

    One that is null is none given, as in Java's parser; the empty one is the null namespace.
    """
    own = definition.get("namespace")
    return namespace if own is None else own


def namespace_of(full: str) -> str:
    """All before the last dot; empty for the null namespace."""
    return full.rpartition(".")[0]


def unqualified(full: str) -> str:
    """What follows the last dot: what the specification matches types by."""
    return full.rpartition(".")[2]
