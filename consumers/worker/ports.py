"""The worker's two ports: where records come from, and where what they led to goes.

`KafkaSource` and `KafkaTransactions` are the real ones; whatever keeps these promises may stand in
for them (`tests/contracts` has them as suites).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Protocol

import msgspec

from consumers.journal.outcomes import Output
from consumers.marks import Mark
from streams.record import Partition, Record


class Assigned(msgspec.Struct, frozen=True):
    """A partition that became the group member's."""

    token: int
    """Names this assignment in everything that follows; never used again."""
    source: Partition
    position: int
    """Committed position, or where the partition begins if there is none."""
    mark: str
    """The metadata committed with it (`consumers.marks`); empty if there is none."""
    metadata: Any
    """Opaque: the group metadata that commits under this assignment must carry (H3)."""


class SourceListener(Protocol):
    """What a source calls, always on the event loop's thread."""

    def on_assigned(self, assigned: Sequence[Assigned]) -> None:
        """These partitions are ours; records follow."""
        ...

    def on_records(self, batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        """Records by assignment token, in order within each.

        They may begin some way below the committed position (`read_back`): those are history.
        """
        ...

    def on_read_to(self, positions: Sequence[tuple[int, int]]) -> None:
        """(token, position): everything visible below was delivered."""
        ...

    def on_assigning(self, done: Callable[[], None]) -> None:
        """Some are about to be ours, maybe again: call `done` once no commit that was under way
        before is under way any more. Only then do committed positions say all there is.
        """
        ...

    def on_revoking(self, sources: Sequence[Partition], done: Callable[[], None]) -> None:
        """These are about to be taken away: settle what can be, then call `done` in any case."""
        ...

    def on_lost(self, sources: Sequence[Partition]) -> None:
        """These are gone already, and may be another's."""
        ...

    def on_source_failed(self, error: BaseException) -> None:
        """The source has ended and will not come back."""
        ...


class Source(Protocol):
    """A group member's subscription."""

    def start(self, listener: SourceListener) -> None:
        """Join the group and begin to deliver."""
        ...

    def reload(self, sources: Sequence[Partition]) -> None:
        """Go back to the committed positions of these; `on_assigned` follows with new tokens."""
        ...

    def hold(self, sources: frozenset[Partition]) -> None:
        """Read these no further until told otherwise; all others are read. Names them all."""
        ...

    async def commit(self, marks: Mapping[int, Mark]) -> Committed:
        """Commit positions outside of any transaction: what at-least-once delivery needs.

        By assignment token: what is not this member's any more, or is again, is left out.
        """
        ...

    async def stop(self) -> None:
        """Leave the group; nothing is delivered after this."""
        ...


class Transaction(msgspec.Struct, frozen=True):
    """What is to happen at once, or not at all."""

    outputs: Sequence[Output]
    """In the order in which they are to be appended per partition."""
    positions: Sequence[tuple[Any, Mapping[Partition, Mark]]]
    """Per distinct assignment metadata: the positions to commit, each with its mark."""
    tokens: Mapping[Partition, int] = {}
    """Which assignment of each of these partitions it is: metadata may be that of several."""


def marks_by_token(transaction: Transaction) -> dict[int, Mark]:
    """Its positions as `Source.commit` takes them."""
    return {
        transaction.tokens[source]: mark
        for _, positions in transaction.positions
        for source, mark in positions.items()
    }


class Committed(Enum):
    """How a transaction ended."""

    YES = auto()
    NO = auto()
    """Aborted: nothing of it happened or will."""
    UNKNOWN = auto()
    """It may have happened; the committed positions tell."""


class Transactions(Protocol):
    """Commits one transaction at a time."""

    async def commit(self, transaction: Transaction) -> Committed:
        """Run it to its end. Raises only what no later try can mend."""
        ...

    async def close(self) -> None:
        """Let go of the connection; nothing is under way."""
        ...
