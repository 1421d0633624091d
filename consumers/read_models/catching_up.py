"""Rows brought up to a cut at once, in no group.

It may go on beside members of the group, and beside others that do the same: whoever is slower
waits until the other is done with the partition, or stands still.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from consumers.following import Move
from consumers.read_models.rows import RowKeeper
from streams.cuts import Cut
from streams.ports import LogReader
from streams.record import Partition

WRITE_S: Final = 0.5
"""How often what is held is written at the least, in seconds: a lock is held as long."""
OTHERS_S_MAX: Final = 5.0
"""How long another member that is at the same partition may stand still."""

_OTHERS_POLL_S: Final = 0.05

OnProgress = Callable[[int, int], None]
"""Called with (positions passed, positions in all)."""


def catch_up(
    keeper: RowKeeper,
    reader: LogReader,
    cut: Cut,
    *,
    deadline: float | None = None,
    on_progress: OnProgress | None = None,
) -> bool:
    """Write the rows of everything below the cut; False if `deadline` (monotonic) came first.

    Reads in no group. What is stored by then stays, whichever way this ends.
    """
    starts = keeper.positions(cut)
    total = sum(max(0, end - starts.get(source, 0)) for source, end in cut)
    passed = 0
    for source, end in cut:
        begin = starts.get(source, 0)
        if begin >= end:
            continue
        if deadline is not None and time.monotonic() >= deadline:
            return False

        def on_partition(position: int, begin: int = begin, passed: int = passed) -> None:
            if on_progress:
                on_progress(passed + position - begin, total)

        if not _catch_up(keeper, reader, cut, source, deadline, on_partition):
            return False
        passed += end - begin
    return True


def _catch_up(
    keeper: RowKeeper,
    reader: LogReader,
    cut: Cut,
    source: Partition,
    deadline: float | None,
    on_partition: Callable[[int], None],
) -> bool:
    end, stored = cut.ends[source], keeper.load(source, cut)
    while (stored or 0) < end:
        position, written_at = stored or 0, time.monotonic()
        for batch in reader.read(source, position, end):
            keeper.fold(source, batch)
            position = batch[-1].position + 1
            late = deadline is not None and time.monotonic() >= deadline
            if late or keeper.is_full or time.monotonic() >= written_at + WRITE_S:
                if not keeper.store([Move(source, stored, position)], cut):
                    break
                stored, written_at = position, time.monotonic()
                on_partition(position)
                if late:
                    return False
        else:
            # Behind the last record there may be markers: the end is passed all the same.
            if keeper.store([Move(source, stored, end)], cut):
                on_partition(end)
                return True
        stored = _after_others(keeper, cut, source)
        on_partition(min(stored or 0, end))
        if deadline is not None and time.monotonic() >= deadline and (stored or 0) < end:
            return False
    return True


def _after_others(keeper: RowKeeper, cut: Cut, source: Partition) -> int | None:
    """The position once the member that was faster is done, or has stood still for a while."""
    at = keeper.load(source, cut)
    still_until = time.monotonic() + OTHERS_S_MAX
    while (at or 0) < cut.ends[source] and time.monotonic() < still_until:
        time.sleep(_OTHERS_POLL_S)
        now = keeper.load(source, cut)
        if now != at:
            at, still_until = now, time.monotonic() + OTHERS_S_MAX
    return at
