"""One partition in memory: records, transaction markers, and who may see what.

Rules (KIP-98)
--------------
1. Every append takes the next position; so does the marker that ends a transaction here.
2. A record of an open transaction is pending, of an aborted one hidden for ever.
3. The stable end (LSO) is the first position of the oldest open transaction, else the end. Who
   reads committed sees nothing at or above it, even if it is not transactional itself.
4. A reader passes markers and hidden records without seeing them.
5. Nothing moves: what is removed at the beginning leaves all other positions as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streams.memory.failures import CallFailed, Failure
from streams.record import Partition, Record

Headers = Sequence[tuple[str, bytes]]


class Fetched(NamedTuple):
    """Visible records, in order, and the position to read on from."""

    records: list[Record]
    position: int


class PartitionLog:
    """See the module's rules. Time comes in with every append."""

    def __init__(self, source: Partition) -> None:
        self.source = source
        self.start = 0
        """The first position that is still there."""
        self._records: list[Record | None] = []  # None: a marker
        self._times_ms: list[int] = []
        self._hidden: set[int] = set()
        self._pending: dict[str, list[int]] = {}

    @property
    def end(self) -> int:
        """The position that the next append takes."""
        return self.start + len(self._records)

    @property
    def stable_end(self) -> int:
        """The LSO: what reads committed ends here."""
        return min((positions[0] for positions in self._pending.values()), default=self.end)

    def append(
        self,
        now_ms: int,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        transactional_id: str = "",
    ) -> int:
        """Take a record, as part of this id's open transaction if there is one; its position."""
        position = self.end
        self._records.append(
            Record(*self.source, position, now_ms, key, value, headers)  # LogAppendTime
        )
        self._times_ms.append(now_ms)
        if transactional_id:
            self._pending.setdefault(transactional_id, []).append(position)
        return position

    def mark(self, now_ms: int, transactional_id: str, *, commit: bool) -> int:
        """End this id's transaction here; the position that the marker takes."""
        positions = self._pending.pop(transactional_id, [])
        if not commit:
            self._hidden.update(positions)
        position = self.end
        self._records.append(None)
        self._times_ms.append(now_ms)
        return position

    def fetch(
        self, position: int, *, end: int | None = None, count_max: int, committed: bool = True
    ) -> Fetched:
        """At most `count_max` visible records from `position` on, below `end`.

        Raises `CallFailed` (`OFFSET_OUT_OF_RANGE`) if the position was removed, or is beyond the
        end.
        """
        if not self.start <= position <= self.end:
            raise CallFailed(
                Failure.OFFSET_OUT_OF_RANGE,
                f"{self.source} goes from {self.start} to {self.end}, asked for {position}",
            )
        stop = self.stable_end if committed else self.end
        stop = stop if end is None else min(stop, end)
        found: list[Record] = []
        while position < stop and len(found) < count_max:
            record = self._records[position - self.start]
            if record is not None and not (committed and position in self._hidden):
                found.append(record)
            position += 1
        return Fetched(found, position)

    def first_after(self, epoch_ms: int) -> int:
        """The first position that was appended after this time, else the end."""
        return next(
            (self.start + n for n, at_ms in enumerate(self._times_ms) if at_ms > epoch_ms), self.end
        )

    def remove_before(self, position: int) -> None:
        """Remove what is below `position`, as retention does; at most up to the stable end."""
        count = min(position, self.stable_end) - self.start
        if count > 0:
            del self._records[:count], self._times_ms[:count]
            self.start += count
            self._hidden = {one for one in self._hidden if one >= self.start}
