"""Key lanes: which record may run next.

Rules
-----
1. One key, one lane. Within a lane records run one at a time, in the order they arrived. A record
   without a key has a lane to itself: nothing orders it.
2. Lanes run side by side, at most `running_max` records at once.
3. A lane ranks by its head record: higher priority first, among equals whichever head arrived
   first. A record never overtakes an earlier one of its own key, however urgent it is.
4. A lane is busy from `take` to `finish`. What must hold the key for longer than one run (a retry
   that waits) simply finishes later; what must not run any more (a revoked partition, a cancelled
   record) is discarded while it waits.

    absent --offer--> ready --take--> busy --finish--> ready (more of the key waits)
                                           --finish--> absent (nothing waits)

The structure bounds nothing but what runs: how much may wait is the window's affair (`window`).
Every operation is O(log lanes) at worst, `discard` is O(waiting).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

from streams.envelope import PRIORITY_MAX

T = TypeVar("T")

_ARRIVAL_BITS: Final = 56
"""A rank is `urgency << 56 | arrival`: one integer compares faster than a tuple of two."""


class Ticket(Generic[T]):
    """One record's place in its lane, from `offer` until `finish` or `discard`."""

    __slots__ = ("item", "lane", "rank")

    def __init__(self, item: T, rank: int, lane: _Lane[T]) -> None:
        self.item = item
        self.rank = rank
        self.lane = lane


class _Lane(Generic[T]):
    __slots__ = ("busy", "key", "waiting")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.waiting: deque[Ticket[T]] = deque()
        self.busy = False


class KeyLanes(Generic[T]):
    """The lanes of one worker. Not thread-safe: one event loop owns it."""

    def __init__(self, running_max: int) -> None:
        if running_max < 1:
            raise ValueError(f"running_max is {running_max}; at least one record must run")
        self.running_max = running_max
        self.running = 0
        """Records between `take` and `finish`."""
        self.waiting = 0
        """Records offered and not yet taken."""
        self._lanes: dict[Hashable, _Lane[T]] = {}
        self._ready: list[tuple[int, _Lane[T]]] = []
        self._arrivals = 0

    def offer(self, key: Hashable | None, priority: int, item: T) -> None:
        """Add a record that arrived: 1 ≤ `priority` ≤ 5, 5 is the most urgent."""
        self._arrivals += 1
        self.waiting += 1
        rank = (PRIORITY_MAX - priority) << _ARRIVAL_BITS | self._arrivals
        lane = self._lanes.get(key) if key is not None else None
        if lane is None:
            lane = _Lane(key)
            if key is not None:
                self._lanes[key] = lane
            heappush(self._ready, (rank, lane))
        lane.waiting.append(Ticket(item, rank, lane))

    def take(self) -> Ticket[T] | None:
        """The next record to run; its key is busy until `finish`. None: nothing may run now."""
        if not self._ready or self.running >= self.running_max:
            return None
        _, lane = heappop(self._ready)
        lane.busy = True
        self.running += 1
        self.waiting -= 1
        return lane.waiting.popleft()

    def finish(self, ticket: Ticket[T]) -> None:
        """This record has ended: the next one of its key may run."""
        lane = ticket.lane
        self.running -= 1
        lane.busy = False
        if lane.waiting:
            heappush(self._ready, (lane.waiting[0].rank, lane))
        elif lane.key is not None:
            del self._lanes[lane.key]

    def discard(self, unwanted: Callable[[T], bool]) -> list[T]:
        """Remove and return the waiting records that are unwanted; running ones are untouched."""
        removed: list[T] = []
        lanes = {id(lane): lane for _, lane in self._ready}
        lanes.update((id(lane), lane) for lane in self._lanes.values())
        for lane in lanes.values():
            kept: deque[Ticket[T]] = deque()
            for ticket in lane.waiting:
                if unwanted(ticket.item):
                    removed.append(ticket.item)
                else:
                    kept.append(ticket)
            lane.waiting = kept
            if lane.key is not None and not kept and not lane.busy:
                del self._lanes[lane.key]
        self.waiting -= len(removed)
        self._ready = [
            (lane.waiting[0].rank, lane)
            for lane in lanes.values()
            if lane.waiting and not lane.busy
        ]
        heapify(self._ready)
        return removed
