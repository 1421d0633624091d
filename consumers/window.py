"""The window: how much a worker may hold between the log and a commit.

A record is in flight from the moment the consumer thread hands it over until the transaction that
settles it has committed (or its partition is given up). Counting until the commit, not until the
handler's end, also bounds outputs that wait and how far the fetch may run ahead of what could be
committed while a coordinator is away (H9).

Water marks
-----------
- The source takes at most `room()` records at a time, so the count is never exceeded.
- Bytes are known only after a batch was taken. The source sizes its batches by the mean size seen
  so far, and stops at the byte mark: what lies above it is at most one batch.
- Once either bound is reached the window is closed, and it opens again at half of both. Between
  the two nothing is paused or resumed: resuming fetches again what the client had queued.

Two threads share a window without a lock: the source alone calls `take`, the event loop alone
calls `release`, and each only ever adds to counters of its own.
"""

from __future__ import annotations

from typing import Final

CLIENT_QUEUE_BYTES: Final = 16 * 1024 * 1024
"""What the Kafka client queues before we see it (`queued.max.messages.kbytes`)."""
RECORD_OVERHEAD_BYTES: Final = 512
"""What a record costs besides key and value: headers and the objects around it."""


class Window:
    """Records and bytes in flight, with hysteresis. `bytes_max` includes the client's queue."""

    def __init__(self, count_max: int, bytes_max: int) -> None:
        if count_max < 1:
            raise ValueError(f"in_flight_max is {count_max}; at least one record must fit")
        if bytes_max < 2 * CLIENT_QUEUE_BYTES:
            raise ValueError(
                f"in_flight_bytes_max is {bytes_max}; the client's queue alone takes "
                f"{CLIENT_QUEUE_BYTES}, give at least twice that"
            )
        self.count_max = count_max
        self.bytes_max = bytes_max - CLIENT_QUEUE_BYTES
        self._taken = 0
        self._taken_bytes = 0
        self._released = 0
        self._released_bytes = 0
        self._closed = False

    @property
    def count(self) -> int:
        """Records in flight."""
        return self._taken - self._released

    @property
    def size(self) -> int:
        """Bytes in flight, the client's queue not counted."""
        return self._taken_bytes - self._released_bytes

    def take(self, count: int, size: int) -> None:
        """The source handed over this many records and bytes."""
        self._taken += count
        self._taken_bytes += size

    def release(self, count: int, size: int) -> None:
        """These were settled or given up."""
        self._released += count
        self._released_bytes += size

    def room(self) -> int:
        """How many records the source may take now; 0 while the window is closed."""
        count, size = self.count, self.size
        if self._closed:
            if count > self.count_max // 2 or size > self.bytes_max // 2:
                return 0
            self._closed = False
        elif count >= self.count_max or size >= self.bytes_max:
            self._closed = True
            return 0
        mean = self._taken_bytes // self._taken if self._taken else RECORD_OVERHEAD_BYTES
        return max(1, min(self.count_max - count, (self.bytes_max - size) // max(1, mean)))
