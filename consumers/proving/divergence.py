"""The first record after which two folds of one partition differ, by bisection over positions.

Each round folds both from a state that they share to a few positions ahead of it, and goes on
between the last at which they agree and the first at which they do not. So a round reads a fraction
of what the round before it read, and the whole search little more than the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

import cbor2
import msgspec

from consumers.proving.faults import Shown, shown
from consumers.proving.folding import Prefix
from streams.errors import DecodeError
from streams.headers import rfc3339
from streams.ports import LogReader
from streams.record import Partition
from streams.schemas import Codec

LOOKS: Final = 8
"""Positions at which a round compares; both states of one round are held."""


class Way(Protocol):
    """A way to fold a partition, as `folding.fold_prefixes` does."""

    def __call__(
        self, source: Partition, begin: Prefix | None, positions: Sequence[int]
    ) -> list[Prefix]:
        """The states below these positions."""
        ...


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """Where two folds part."""

    source: Partition
    after: int
    """Both agree below this position, and not below `before`."""
    before: int
    differences: tuple[Shown, ...]
    more: int

    @property
    def is_initial(self) -> bool:
        """Whether they differ before the first record."""
        return self.before == 0


def first_divergence(one: Way, other: Way, source: Partition, end: int) -> Divergence | None:
    """Where they first differ below `end`; None if they do not.

    What differs only now and then may stop to, while it is looked at more closely: then the
    divergence has more than one position.
    """
    agreed: Prefix | None = None
    found: Divergence | None = None
    start, positions = 0, [0, *_spread(0, end)]
    while True:
        parted = _compare(one, other, source, agreed, positions)
        if parted is None:
            return found
        agreed, here, there = parted
        start = agreed.position if agreed is not None else 0
        differing, more = shown(_value(here), _value(there))
        found = Divergence(
            source=source,
            after=start,
            before=here.position,
            differences=differing,
            more=more,
        )
        if here.position - start <= 1:
            return found
        positions = _spread(start, here.position)


def _compare(
    one: Way, other: Way, source: Partition, begin: Prefix | None, positions: Sequence[int]
) -> tuple[Prefix | None, Prefix, Prefix] | None:
    """The last prefix that both come to, and the first that they do not; None if there is none."""
    agreed = begin
    pairs = zip(one(source, begin, positions), other(source, begin, positions), strict=False)
    for here, there in pairs:
        if here.digest != there.digest:
            return agreed, here, there
        if not here.stored:  # both fail alike
            return None
        agreed = here
    return None


def _spread(start: int, end: int) -> list[int]:
    """Up to `LOOKS` positions above `start`, evenly, the last one `end`."""
    looks = min(LOOKS, end - start)
    return [start + (end - start) * n // looks for n in range(1, looks + 1)]


def _value(prefix: Prefix) -> Any:
    return cbor2.loads(prefix.stored) if prefix.stored else prefix.digest


def described(divergence: Divergence, reader: LogReader, codec: Codec) -> str:
    """The record that a divergence is at, for people: position, type, sender, append time."""
    source, after = divergence.source, divergence.after
    if divergence.is_initial:
        return f"{source} before its first record"
    if divergence.before - after > 1:
        return f"{source} between {after} and {divergence.before}"
    for batch in reader.read(source, after, divergence.before):
        for record in batch:
            when = rfc3339(record.appended_at_ms * 1000)
            try:
                envelope = codec.decode(record.value, record.headers)
            except DecodeError:
                return f"{record} (appended {when})"
            return f"{record} ({envelope.type} from {envelope.sender}, appended {when})"
    return f"{source}@{after}"
