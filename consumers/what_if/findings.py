"""What came out of a what-if: where two folds first differ, and what is different in the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final

import msgspec

from consumers.differences import NOTHING, Difference, differences
from streams.cuts import Cut
from streams.digest import canonical
from streams.record import Partition, Record

FIRST_MAX: Final = 10
"""Differences that are told of the first record; its states may differ in more."""
DIFFERENCES_MAX: Final = 1_000
"""Differences at the end that are kept; the others are counted."""
DIVERGENCES_MAX: Final = 100
"""Streams of one partition whose first difference is kept; the others are counted."""


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """After this record two states differ, and before it they did not."""

    where: Partition | str
    """The partition, or the stream's id."""
    record: Record | None
    """None: they differ before the first record."""
    type: str = ""
    sender: str = ""
    id: str = ""
    """Of its envelope, as far as it can be read."""
    differences: Sequence[Difference] = ()
    """The first of them, after this record."""
    steady: bool = True
    """False: folded once more the states were equal; then one of the two is not a function of its
    records, and nobody can say where it began."""

    @property
    def when(self) -> tuple[int, str, int, int]:
        """What the first of several is the lowest of: append time, then place."""
        one = self.record
        if one is None:
            return (0, str(self.where), 0, 0)
        return (one.appended_at_ms, one.topic, one.partition, one.position)


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """What one side came to."""

    label: str
    digest: str | None
    """Of its state; None for streams, which have one each."""
    undecodable: int = 0
    """Records that it could not decode under its schemas, and passed over."""
    first_undecodable: str = ""


class WhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """One history, two ways."""

    cut: Cut
    records: int
    this: Totals
    other: Totals
    diverged: int
    """Partitions or streams whose states differ after some record."""
    divergences: Sequence[Divergence]
    """The first of each, in the order the log took them."""
    different: int
    """Differences between the final states."""
    differences: Sequence[Difference]
    """The first of them: `before` is this side's, `after` the other's."""
    seconds: float

    @property
    def equal(self) -> bool:
        """True if nothing ever differed, as far as was looked."""
        return not (self.diverged or self.different)

    @property
    def first(self) -> Divergence | None:
        """The first divergence of all."""
        return self.divergences[0] if self.divergences else None


class Collected:
    """Differences, the first of them kept and all counted."""

    def __init__(self) -> None:
        self.kept: list[Difference] = []
        self.count = 0

    def add(self, found: Iterable[Difference]) -> None:
        """Take these."""
        for one in found:
            self.count += 1
            if len(self.kept) < DIFFERENCES_MAX:
                self.kept.append(one)


def digest_differences(this: Any, other: Any, path: str = "") -> Iterator[Difference]:
    """Differences that count: what has one canonical form is one value (a tuple is a list)."""
    for one in differences(this, other, path):
        lacks = one.before is NOTHING or one.after is NOTHING
        if lacks or canonical(one.before) != canonical(one.after):
            yield one


def first_differences(this: Any, other: Any, path: str = "") -> list[Difference]:
    """As many as are told of a first record."""
    return list(islice(digest_differences(this, other, path), FIRST_MAX))
