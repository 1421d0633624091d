"""The states of partitions merged in other orders, and which law a merge breaks.

    commutes      merge(a, b) = merge(b, a)
    associates    merge(merge(a, b), c) = merge(a, merge(b, c))
    neutral       merge(initial(), a) = a = merge(a, initial())
    repeats       the same merge gives the same twice

A merge may use up its arguments, so each gets copies of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final, NamedTuple

import cbor2

from consumers.differences import differences
from consumers.projections import Projection
from consumers.proving.faults import Fault, compared, is_float
from consumers.proving.interleaving import MergeOrder
from streams.digest import digest
from streams.errors import AgentlogError
from streams.record import Partition

CHOICES_MAX: Final = 200
"""Pairs, and triples, of partitions with which each law is tried when a merge is at fault."""


def merge_in(projection: Projection[Any], parts: Sequence[bytes], order: MergeOrder) -> Any:
    """These states (CBOR), with as many `initial()` in front as the order has steps for."""
    initial = [projection.initial] * (len(order) + 1 - len(parts))
    pool: list[Callable[[], Any]] = [*initial, *(_loader(part) for part in parts)]
    for first, second in order:
        one, other = pool[first](), pool[second]()
        for taken in sorted((first, second), reverse=True):
            pool.pop(taken)
        pool.append(_holder(merged(projection, one, other)))
    (left,) = pool
    return left()


def merge_digests(
    projection: Projection[Any], parts: Sequence[bytes], orders: Sequence[MergeOrder]
) -> list[str]:
    """The digest of each order."""
    return [digest(merge_in(projection, parts, order)) for order in orders]


def merged(projection: Projection[Any], one: Any, other: Any) -> Any:
    """One merge. Raises `AgentlogError` that names the projection for whatever it raises."""
    try:
        return projection.merge(one, other)
    except Exception as error:
        raise AgentlogError(
            f"projection {projection.name} failed to merge two states: "
            f"{type(error).__name__}: {error}"
        ) from error


class _Merge(NamedTuple):
    """A merge that is written down, of parts (named by their partitions) or of other merges."""

    one: _Merge | Partition | None
    other: _Merge | Partition | None

    def __str__(self) -> str:
        return f"merge({_said(self.one)}, {_said(self.other)})"


_Term = _Merge | Partition | None
"""None is `initial()`."""


def broken_law(
    projection: Projection[Any], parts: Mapping[Partition, bytes], rng: random.Random
) -> Fault | None:
    """The first law that a merge of these states breaks, with the partitions that show it."""

    def made(term: _Term) -> Any:
        if isinstance(term, _Merge):
            return merged(projection, made(term.one), made(term.other))
        return projection.initial() if term is None else cbor2.loads(parts[term])

    for law, there, back in _cases(parts, rng):
        one, other = made(there), made(back)
        if digest(one) != digest(other):
            return compared(
                f"merge_{law}",
                f"projection {projection.name}",
                _BROKEN[law] + advice(one, other),
                (_said(there), one),
                (_said(back) if there is not back else "the same once more", other),
            )
    return None


_BROKEN: Final = {
    "neutral": "merge with initial() changes a state",
    "repeats": "merge gives something else for the same states",
    "commutes": "merge does not commute",
    "associates": "merge does not associate",
}


def _cases(
    parts: Mapping[Partition, bytes], rng: random.Random
) -> Iterator[tuple[str, _Term, _Term]]:
    # The largest states first: what two of them have in common is where laws break.
    sources = sorted(parts, key=lambda source: (-len(parts[source]), source))
    for a in sources:
        yield "neutral", a, _Merge(None, a)
        yield "neutral", a, _Merge(a, None)
    for a, b in _chosen(sources, 2, rng):
        there = _Merge(a, b)
        yield "repeats", there, there
        yield "commutes", there, _Merge(b, a)
    for a, b, c in _chosen(sources, 3, rng):
        yield "associates", _Merge(_Merge(a, b), c), _Merge(a, _Merge(b, c))


def advice(one: Any, other: Any) -> str:
    """What to say beside two states that a merge should have made one."""
    if is_float(differences(one, other)):
        return "; only floats differ: their sum hangs on the order, add up integers or Decimals"
    return ""


def _said(term: _Term) -> str:
    return "initial()" if term is None else str(term)


def _chosen(
    sources: Sequence[Partition], size: int, rng: random.Random
) -> list[tuple[Partition, ...]]:
    """All ways to take so many of them, or as many ways as may be tried."""
    if len(sources) < size:
        return []
    if len(sources) <= 8:
        return list(combinations(sources, size))[:CHOICES_MAX]
    return [tuple(rng.sample(sources, size)) for _ in range(CHOICES_MAX)]


def _loader(part: bytes) -> Callable[[], Any]:
    return lambda: cbor2.loads(part)


def _holder(value: Any) -> Callable[[], Any]:
    return lambda: value
