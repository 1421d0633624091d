"""A group's positions: what is committed, and what open transactions are about to commit.

While a transaction that holds positions of a partition is open, nobody can know where a new owner
has to begin: reads that ask for stable positions are refused (KIP-447, H5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from streams.memory.failures import CallFailed, Failure
from streams.record import Partition

METADATA_BYTES_MAX: Final = 4096
"""Kafka's `offset.metadata.max.bytes`; more aborts the transaction (H10)."""


class CommittedPosition(msgspec.Struct, frozen=True):
    """A committed position and the text that was committed with it."""

    position: int
    metadata: str = ""


class Positions:
    """One group's."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._committed: dict[Partition, CommittedPosition] = {}
        self._pending: dict[Partition, dict[str, None]] = {}

    def commit(self, marks: Mapping[Partition, CommittedPosition]) -> None:
        """These are committed now."""
        self._committed.update(marks)

    def hold(self, transactional_id: str, sources: Iterable[Partition]) -> None:
        """This id's open transaction has positions of these partitions."""
        for source in sources:
            self._pending.setdefault(source, {})[transactional_id] = None

    def let_go(self, transactional_id: str) -> None:
        """This id's transaction has ended, whichever way."""
        for source in [one for one, ids in self._pending.items() if transactional_id in ids]:
            del self._pending[source][transactional_id]
            if not self._pending[source]:
                del self._pending[source]

    def committed(
        self, sources: Iterable[Partition], *, stable: bool
    ) -> dict[Partition, CommittedPosition | None]:
        """Each partition's mark, None where nothing was committed.

        Raises `CallFailed` (`UNSTABLE_OFFSET_COMMIT`) if `stable` and one is about to change.
        """
        found: dict[Partition, CommittedPosition | None] = {}
        for source in sources:
            if stable and source in self._pending:
                raise CallFailed(
                    Failure.UNSTABLE_OFFSET_COMMIT,
                    f"group {self._group}: an open transaction holds a position of {source}",
                )
            found[source] = self._committed.get(source)
        return found


def require_small(marks: Mapping[Partition, CommittedPosition]) -> None:
    """Raise `CallFailed` (`OFFSET_METADATA_TOO_LARGE`) for metadata over Kafka's bound."""
    for source, mark in marks.items():
        size = len(mark.metadata.encode())
        if size > METADATA_BYTES_MAX:
            raise CallFailed(
                Failure.OFFSET_METADATA_TOO_LARGE,
                f"metadata of {source} is {size} bytes, the limit is {METADATA_BYTES_MAX}",
            )
