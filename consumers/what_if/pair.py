"""Both folds of one partition, side by side, and the record after which they first differ.

A digest per record would cost more than the folds, so the two states are compared at growing
intervals (after the first batch, then whenever as many records again were folded). Where they have
come to differ, the record is found by bisection from the last place where they were equal, on
copies of the states as they were there: at most as many records again are read.

What differs for a while only, between two places where both are equal, is not seen; and of several
such spells before a lasting one, any may be the one that is found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any, Final, Self

from consumers.projections.filters import EVERYTHING
from consumers.projections.partition_fold import PartitionFold, Tally
from consumers.projections.projection import Projection
from consumers.what_if.findings import Divergence, first_differences
from consumers.what_if.side import Side
from streams.digest import digest
from streams.errors import DecodeError
from streams.record import Partition, Record

HELD_MAX: Final = 10_000
"""Positions below which a bisection keeps the records instead of reading them again."""

Read = Callable[[int, int], Iterable[Sequence[Record]]]
"""Batches of the partition's records with start ≤ position < end."""
ProjectionSide = Side[Projection[Any]]


class Pair:
    """Two folds at the same position."""

    def __init__(
        self, sides: Sequence[ProjectionSide], states: Sequence[Any] | None = None
    ) -> None:
        self.sides = sides
        states = [side.fold.initial() for side in sides] if states is None else states
        self._folds = [
            PartitionFold(side.fold, side.codec, EVERYTHING, state)
            for side, state in zip(sides, states, strict=True)
        ]

    @property
    def states(self) -> tuple[Any, ...]:
        """This side's, and the other's."""
        return tuple(fold.state for fold in self._folds)

    @property
    def tallies(self) -> tuple[Tally, ...]:
        """What each went through."""
        return tuple(fold.tally for fold in self._folds)

    def add(self, records: Sequence[Record]) -> None:
        """Fold a batch on both sides. Raises the `AgentlogError` of the side that fails."""
        for side, fold in zip(self.sides, self._folds, strict=True):
            with side.named():
                fold.add(records)

    def equal(self) -> bool:
        """Whether the two states are one value. Raises `NotDigestible`."""
        found = set()
        for side, state in zip(self.sides, self.states, strict=True):
            with side.named():
                found.add(digest(state))
        return len(found) == 1

    def copy(self) -> Self:
        """Both as they are, to be folded on apart."""
        return type(self)(self.sides, deepcopy(self.states))

    def differences(self) -> Sequence[Any]:
        """The first differences, of values that nobody else changes."""
        this, other = deepcopy(self.states)
        return first_differences(this, other)


def fold_both(
    sides: Sequence[ProjectionSide],
    source: Partition,
    read: Read,
    end: int,
    on_position: Callable[[int], None] | None = None,
) -> tuple[Pair, Divergence | None]:
    """Both folds of a partition from 0 to `end`, and where they first differ."""
    pair = Pair(sides)
    found: Divergence | None = None
    if not pair.equal():
        found = Divergence(where=source, record=None, differences=pair.differences())
    equal, at = pair.copy(), 0
    seen, due = 0, 1
    for batch in read(0, end):
        pair.add(batch)
        seen += len(batch)
        position = batch[-1].position + 1
        if found is None and (seen >= due or position == end):
            if pair.equal():
                equal, at, due = pair.copy(), position, 2 * seen
            else:
                found = _first_between(equal, source, read, at, position)
        if on_position:
            on_position(position)
    if found is None and not pair.equal():
        found = _first_between(equal, source, read, at, end)
    return pair, found


def _first_between(equal: Pair, source: Partition, read: Read, start: int, end: int) -> Divergence:
    """The record after which states differ that are equal at `start` and differ at `end`."""
    held: list[Record] | None = None

    def between(first: int, stop: int) -> Iterable[Sequence[Record]]:
        if held is None:
            return read(first, stop)
        return [[record for record in held if first <= record.position < stop]]

    while end - start > 1:
        if held is None and end - start <= HELD_MAX:
            held = [record for batch in read(start, end) for record in batch]
        middle = (start + end) // 2
        trial = equal.copy()
        for batch in between(start, middle):
            trial.add(batch)
        if trial.equal():
            equal, start = trial, middle
        else:
            end = middle
    trial = equal.copy()
    records = [record for batch in between(start, end) for record in batch]
    trial.add(records)
    # Of folds that are not steady, the bisection may end where nobody sees a record.
    record = records[-1] if records else None
    return told(source, record, equal.sides, trial.differences(), steady=not trial.equal())


def told(
    where: Partition | str,
    record: Record | None,
    sides: Sequence[Side[Any]],
    differences: Sequence[Any],
    *,
    steady: bool = True,
) -> Divergence:
    """A divergence with what can be read of its record."""
    said = {}
    for side in sides:
        if record is None:
            break
        with suppress(DecodeError):
            envelope = side.codec.decode(record.value, record.headers)
            said = {"type": envelope.type, "sender": envelope.sender, "id": envelope.id}
    return Divergence(where=where, record=record, differences=differences, steady=steady, **said)
