"""What is different between two states, path by path. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec


class _Nothing:
    def __repr__(self) -> str:
        return "–"


NOTHING: Final = _Nothing()
"""Stands for what is not there at all."""


class Difference(msgspec.Struct, frozen=True):
    """One value that two states do not share."""

    path: str
    """As in `agents['a-1'].sent.event`; empty for the state itself."""
    before: Any
    after: Any


def differences(before: Any, after: Any, path: str = "") -> Iterator[Difference]:
    """Every difference, in the order of keys. Lists count as one value, and 1 is not 1.0."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}, key=lambda key: (str(type(key)), str(key))):
            there, here = before.get(key, NOTHING), after.get(key, NOTHING)
            yield from differences(there, here, _below(path, key))
    elif type(before) is not type(after) or before != after:
        yield Difference(path, before, after)


def _below(path: str, key: Any) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{key!r}]"
