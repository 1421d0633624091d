"""Projections: folds of the log into state.

A projection is four plain functions and two names. `apply` sees the records of one partition in
order; partitions combine only through `merge`, which must be associative and commutative, with
`initial()` as its neutral element. So a live fold, a parallel replay and a replay in another
interleaving agree, and digests can be compared.

What a state may be: dicts, lists, sets, strings, bytes, numbers, None, UTC datetimes: what
`streams.digest` takes and CBOR keeps (a tuple comes back from storage as a list). No clock, no
randomness, no float sums. A fold owns its state: `apply` may change it in place and must return
it; `merge` may use up both of its arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

from streams.envelope import Envelope
from streams.record import Record

S = TypeVar("S")


class Projection(Protocol[S]):
    """A fold of the log. `S` is its state."""

    @property
    def name(self) -> str:
        """Short and stable: it names the fold's group and its stored rows."""
        ...

    @property
    def version(self) -> int:
        """Raise it when the fold's meaning changes: stored states of other versions are unread."""
        ...

    @property
    def topics(self) -> tuple[str, ...]:
        """Logical names of the topics it reads."""
        ...

    def initial(self) -> S:
        """The state before the first record."""
        ...

    def apply(self, state: S, record: Record, envelope: Envelope) -> S:
        """The state after one more record of the same partition.

        Touch the payload before changing the state: a damaged one raises `DecodeError` there, and
        the record is then counted as undecodable and passed over.
        """
        ...

    def merge(self, a: S, b: S) -> S:
        """The state of two disjoint sets of partitions."""
        ...

    def view(self, state: S) -> Mapping[str, Any]:
        """The state as people and JSON see it."""
        ...


class Stamp(NamedTuple):
    """What last-writer-wins compares: event time first, then the order of whoever wrote it down."""

    created_at: int
    """UTC microseconds."""
    import_seq: int
    """Place in its import; 0 for what was sent live."""
    appended_at_ms: int
    topic: str
    partition: int
    position: int

    @classmethod
    def of(cls, record: Record, envelope: Envelope) -> Stamp:
        """The stamp of one record; no two records have the same."""
        return cls(
            envelope.created_at,
            envelope.import_seq or 0,
            record.appended_at_ms,
            record.topic,
            record.partition,
            record.position,
        )
