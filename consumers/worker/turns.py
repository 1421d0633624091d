"""Turns: which results of which partitions one commit takes.

A commit takes outputs up to `COMMIT_BYTES_MAX`, and at least one record. Where that is no room for
all, the next commit begins behind the partition that was served last: served in a fixed order, the
first ones could fill every commit, and the last would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from consumers.journal.outcomes import Settled
from consumers.worker.assignment import Assignment, CommitPart
from streams.record import Partition

COMMIT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Outputs of one transaction, in bytes of values: what surely fits its timeout."""


class CommitTurns:
    """Whose turn it is, from one commit of a worker to the next."""

    def __init__(self) -> None:
        self._served_last: Partition | None = None
        """Of the commit that had no room for all, the partition that it was full with."""

    def next(self, assignments: Sequence[Assignment], *, also_idle: bool) -> list[CommitPart]:
        """What the next transaction settles of these; empty if there is nothing.

        With `also_idle`, of those too whose prefix moved over invisible positions alone.
        """
        parts: list[CommitPart] = []
        room, empty, cut, served = COMMIT_BYTES_MAX, True, False, self._served_last
        for assignment in self._in_turn(assignments):
            tracker = assignment.tracker
            idle = also_idle and assignment.opened
            if not (tracker.finished or assignment.owes_mark or idle):
                continue
            selection = tracker.select(_has_room(room, empty=empty))
            assignment.full = selection.full
            cut = cut or (tracker.finished > 0 and not selection.full)
            if selection.finished:
                served, empty = assignment.source, False
                # What the mark had no room for takes none from others.
                room -= sum(one.outputs_size for one in selection.results)
            if selection.finished or assignment.owes_mark or selection.prefix > tracker.committed:
                parts.append(CommitPart(assignment, selection))
        if cut:
            self._served_last = served
        return parts

    def _in_turn(self, found: Sequence[Assignment]) -> Sequence[Assignment]:
        for at, assignment in enumerate(found, 1):
            if assignment.source == self._served_last:
                return [*found[at:], *found[:at]]
        return found


def _has_room(room: int, *, empty: bool) -> Callable[[Settled], bool]:
    """Whether one more fits into so many bytes, asked one after the other; an `empty` commit takes
    the first in any case.
    """

    def has_room(one: Settled) -> bool:
        nonlocal room, empty
        room -= one.outputs_size
        found = room >= 0 or empty
        empty = False
        return found

    return has_room
