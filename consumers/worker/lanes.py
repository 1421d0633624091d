"""Key lanes: which record may run next.

Rules
-----
1. One key, one lane. Within a lane records run one at a time, in the order they arrived. A record
   without a key has a lane to itself: nothing orders it.
2. Lanes run side by side, at most `running_max` records at once.
3. A lane ranks by its head record: higher priority first, among equals whichever head arrived
   first. A record never overtakes an earlier one of its own key, however urgent it is.
4. A record may have to pass gates, each of which lets at most so many through at once (a handler's
   own limit). A lane whose head finds a gate full waits at that gate, in rank; others go on.
5. A lane is busy from `take` to `finish`. A record that has to run again later is parked: it holds
   its key, and nothing else.

    absent --offer--> ready --take--> busy --finish--> ready (more of the key waits)
                        |             |  ^ --finish--> absent (nothing waits)
       full gate: waiting at it       |  └─────unpark─┐
                        └─> ready     └────park───> parked

The structure bounds nothing but what runs: how much may wait is the window's affair (`window`).
Every operation is O(log lanes) at worst, `discard` is O(waiting).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

from streams.envelope import PRIORITY_MAX

_ARRIVAL_BITS: Final = 56
"""A rank is `urgency << 56 | arrival`: one integer compares faster than a tuple of two."""


class Entry:
    """What waits in a lane: the base of a worker's deliveries. The lanes alone set its fields."""

    __slots__ = ("gates", "lane", "rank")

    lane: Lane
    rank: int
    gates: tuple[Gate, ...]


E = TypeVar("E", bound=Entry)

Ranked = tuple[int, "Lane"]


class Lane:
    """The records of one key that have not finished."""

    __slots__ = ("busy", "key", "parked", "waiting")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.waiting: deque[Entry] = deque()
        self.busy = False
        self.parked: Entry | None = None


class Gate:
    """Lets at most `limit` records through at once."""

    __slots__ = ("inside", "limit", "waiting")

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"a limit of {limit} lets nothing through")
        self.limit = limit
        self.inside = 0
        self.waiting: list[Ranked] = []


Gates = Callable[[bytes], tuple[Gate, ...]]
"""By payload type: what limits its handlers."""


def no_gates(_type: bytes) -> tuple[Gate, ...]:
    """Nothing limits any handler."""
    return ()


class KeyLanes(Generic[E]):
    """The lanes of one worker. Not thread-safe: one event loop owns it."""

    def __init__(self, running_max: int) -> None:
        if running_max < 1:
            raise ValueError(f"running_max is {running_max}; at least one record must run")
        self.running_max = running_max
        self.running = 0
        """Records between `take` and `finish` or `park`."""
        self.waiting = 0
        """Records offered and not yet taken."""
        self.parked = 0
        self._lanes: dict[Hashable, Lane] = {}
        self._keyless: set[Lane] = set()
        self._ready: list[Ranked] = []
        self._crowded: set[Gate] = set()
        """Gates that lanes wait at, or did."""
        self._arrivals = 0

    @property
    def ready(self) -> int:
        """How many lanes have a record that may run, gates aside."""
        return len(self._ready)

    def offer(
        self, key: Hashable | None, priority: int, entry: E, gates: tuple[Gate, ...] = ()
    ) -> None:
        """Add a record that arrived: 1 ≤ `priority` ≤ 5, 5 is the most urgent."""
        self._arrivals += 1
        self.waiting += 1
        entry.rank = rank = (PRIORITY_MAX - priority) << _ARRIVAL_BITS | self._arrivals
        entry.gates = gates
        lane = self._lanes.get(key) if key is not None else None
        if lane is None:
            lane = Lane(key)
            if key is not None:
                self._lanes[key] = lane
            else:
                self._keyless.add(lane)
            heappush(self._ready, (rank, lane))
        entry.lane = lane
        lane.waiting.append(entry)

    def take(self) -> E | None:
        """The next record to run; its key is busy until `finish`. None: nothing may run now."""
        ready = self._ready
        while ready and self.running < self.running_max:
            ranked = heappop(ready)
            lane = ranked[1]
            entry = lane.waiting[0]
            if entry.gates and not self._pass(entry.gates, ranked):
                continue
            lane.waiting.popleft()
            lane.busy = True
            self.running += 1
            self.waiting -= 1
            return entry  # type: ignore[return-value]  # only E was ever offered
        return None

    def finish(self, entry: E) -> None:
        """This record has ended: the next one of its key may run."""
        self.running -= 1
        if entry.gates:
            self._leave(entry.gates)
        self._release(entry.lane)

    def park(self, entry: E) -> None:
        """This record must run again, later: it keeps its key, and its place to run is free."""
        self.running -= 1
        self.parked += 1
        entry.lane.parked = entry
        if entry.gates:
            self._leave(entry.gates)

    def unpark(self, entry: E) -> bool:
        """It may run again, before all others of its key. False: it was discarded meanwhile."""
        lane = entry.lane
        if lane.parked is not entry:
            return False
        lane.parked = None
        self.parked -= 1
        self.waiting += 1
        lane.waiting.appendleft(entry)
        lane.busy = False
        heappush(self._ready, (entry.rank, lane))
        return True

    def discard(self, unwanted: Callable[[E], bool]) -> list[E]:
        """Remove and return the waiting and parked records that are unwanted; running ones stay."""
        removed: list[E] = []
        kept_waiting = 0
        for lane in self._all():
            kept: deque[Entry] = deque()
            for entry in lane.waiting:
                if unwanted(entry):  # type: ignore[arg-type]
                    removed.append(entry)  # type: ignore[arg-type]
                else:
                    kept.append(entry)
            lane.waiting = kept
            kept_waiting += len(kept)
            parked = lane.parked
            if parked is not None and unwanted(parked):  # type: ignore[arg-type]
                removed.append(parked)  # type: ignore[arg-type]
                lane.parked = None
                lane.busy = False
                self.parked -= 1
        self.waiting = kept_waiting
        self._reorder()
        return removed

    def oldest(self) -> E | None:
        """The waiting or parked record that arrived first. O(waiting)."""
        entries = (e for lane in self._all() for e in (*lane.waiting, lane.parked) if e is not None)
        arrival = (1 << _ARRIVAL_BITS) - 1
        return min(entries, key=lambda e: e.rank & arrival, default=None)  # type: ignore[return-value]

    def _all(self) -> Iterator[Lane]:
        yield from self._lanes.values()
        yield from self._keyless

    def _release(self, lane: Lane) -> None:
        lane.busy = False
        if lane.waiting:
            heappush(self._ready, (lane.waiting[0].rank, lane))
        else:
            self._forget(lane)

    def _forget(self, lane: Lane) -> None:
        if lane.key is not None:
            del self._lanes[lane.key]
        else:
            self._keyless.discard(lane)

    def _pass(self, gates: tuple[Gate, ...], ranked: Ranked) -> bool:
        """Go through all gates, or wait at the first that is full."""
        for gate in gates:
            if gate.inside >= gate.limit:
                heappush(gate.waiting, ranked)
                self._crowded.add(gate)
                # The others may have room that this lane does not use now.
                self._admit(gates)
                return False
        for gate in gates:
            gate.inside += 1
        return True

    def _leave(self, gates: tuple[Gate, ...]) -> None:
        for gate in gates:
            gate.inside -= 1
        self._admit(gates)

    def _admit(self, gates: tuple[Gate, ...]) -> None:
        """Those that wait first at gates with room may try again."""
        for gate in gates:
            if gate.waiting and gate.inside < gate.limit:
                heappush(self._ready, heappop(gate.waiting))

    def _reorder(self) -> None:
        """After a discard: whatever waits and is not busy is ready, and finds its gate again."""
        self._ready.clear()
        for gate in self._crowded:
            gate.waiting.clear()
        self._crowded.clear()
        for lane in tuple(self._all()):
            if lane.busy:
                continue
            if lane.waiting:
                heappush(self._ready, (lane.waiting[0].rank, lane))
            else:
                self._forget(lane)
