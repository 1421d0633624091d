"""What a worker decides about: assignments, the records under them, their shares of a commit."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

from consumers.journal import PartitionCommit
from consumers.journal.outcomes import Settled
from consumers.marks import Mark
from consumers.window import RECORD_OVERHEAD_BYTES
from consumers.worker.duplicates import RecentRecords
from consumers.worker.lanes import Entry
from consumers.worker.tracking import PartitionTracker, Selection
from streams.record import Partition, Record

TAKEOVERS_MAX: Final = 3
"""Owners in a row that died without moving the position, before its records run one by one."""
STARTS_MAX: Final = 2
"""Starts without an end after which a record has crashed."""


def record_size(record: Record) -> int:
    """Bytes that a record holds in the window: key, value and a fixed share for the rest."""
    return len(record.value or b"") + len(record.key or b"") + RECORD_OVERHEAD_BYTES


class Assignment:
    """One partition while it is ours. `metadata` is the group's, as it was when we got it (H3)."""

    __slots__ = (
        "_reloaded",
        "backlog",
        "careful",
        "clean",
        "count",
        "full",
        "held",
        "inherited",
        "live",
        "mark_due",
        "metadata",
        "opened",
        "position",
        "recent",
        "released",
        "running",
        "size",
        "source",
        "starts",
        "stopping",
        "suspect",
        "suspect_at",
        "takeovers",
        "token",
        "tracker",
        "waits",
        "wary",
    )

    def __init__(
        self,
        token: int,
        source: Partition,
        mark: Mark,
        metadata: Any,
        *,
        careful_max: int,
        wary_max: int,
        dedup_window: int,
        before: Assignment | None = None,
    ) -> None:
        """`before` is ours of the same partition, if this one is its reload."""
        self.token = token
        self.source = source
        self.metadata = metadata
        self.position = mark.position
        """Where it began: records below it are only remembered."""
        self.tracker: PartitionTracker[Settled] = PartitionTracker(mark.position, mark.finished)
        self.recent = RecentRecords(dedup_window)
        self.running = 0
        self.count = 0
        self.size = 0
        self.live = True
        self.stopping = False
        self.clean = False
        """Whether its next mark says that we gave it up in order."""
        self.full = False
        """Whether the last commit left results for want of room in the mark."""
        self.held = False
        """Whether it is not read on, because of its backlog."""
        self.opened = False
        self.mark_due = True
        """Whether a commit must carry its mark though nothing finished."""
        self.takeovers = mark.takeovers + (not mark.clean)
        self.suspect_at = mark.suspect
        """Position of the record that runs alone, or did when an owner died."""
        self.starts = mark.starts
        self._reloaded = before is not None and before.ours
        if before is not None:
            # What the mark says more is of our own doing, and we live.
            self.takeovers = min(self.takeovers, before.takeovers)
            self.suspect_at, self.starts = before.inherited
        self.inherited: tuple[int | None, int] = self.suspect_at, self.starts
        """What earlier owners left to be suspected, and has not ended yet."""
        suspicious = self.takeovers >= TAKEOVERS_MAX or self.suspect_at is not None
        self.careful = careful_max if suspicious else 0
        """How many records are still to run one at a time."""
        self.wary = wary_max if self.takeovers else 0
        """How many are still to be committed before the takeovers are forgotten."""
        self.released = 0
        """Records run or in their lanes and not committed, counted while it is wary."""
        self.backlog: deque[Delivery] = deque()
        """Records in order that may not enter their lanes yet."""
        self.suspect: Delivery | None = None
        self.waits = False
        """Whether the suspect is parked."""

    @property
    def owes_mark(self) -> bool:
        """Whether a commit must carry its mark. What is stopped before it was opened is left as
        its last owner left it.
        """
        return self.mark_due and (self.ours or not self.stopping)

    @property
    def ours(self) -> bool:
        """Whether the log says that it has an owner, which we are."""
        return self.opened or self._reloaded

    def mark(self, selection: Selection[Settled]) -> Mark:
        """What the commit of this selection says about the partition."""
        return Mark(
            selection.prefix,
            tuple(selection.beyond),
            self.clean,
            self.takeovers,
            self.suspect_at,
            self.starts,
        )


class Delivery(Entry):
    """A record under the assignment that it arrived by, and what its attempts have come to."""

    __slots__ = (
        "alone",
        "assignment",
        "attempt",
        "done",
        "duplicate",
        "effects",
        "envelope_id",
        "failure",
        "floor",
        "interrupted",
        "odd",
        "record",
        "size",
    )

    def __init__(
        self,
        record: Record,
        assignment: Assignment,
        floor: int,
        size: int,
        *,
        duplicate: bool,
        odd: bool,
    ) -> None:
        self.record = record
        self.assignment = assignment
        self.floor = floor
        self.size = size
        """Bytes that it holds in the window."""
        self.duplicate = duplicate
        """Whether it repeats a record a little before it."""
        self.odd = odd
        """Whether headers or marks say something that may end it before any handler runs."""
        self.alone = False
        """Whether it runs with nothing beside it."""
        self.envelope_id = ""
        """Once it was opened to be handled."""
        self.attempt = 0
        """Of its handlers; counts from 1."""
        self.failure: Any = None
        """What the last attempt failed with."""
        self.done: dict[str, Any] | None = None
        """Handlers that ended well in an earlier attempt, and their outputs."""
        self.effects: dict[str, Any] | None = None
        """Results of effects that an earlier attempt had."""
        self.interrupted: str | None = None
        """Why it was interrupted, if it was; never twice."""

    @property
    def crashed(self) -> bool:
        """Whether its process died whenever it ran alone: it must not run again."""
        return self.alone and self.assignment.starts > STARTS_MAX


class CommitPart:
    """One partition's share of a commit."""

    __slots__ = ("assignment", "commit", "mark", "selection")

    def __init__(self, assignment: Assignment, selection: Selection[Settled]) -> None:
        self.assignment = assignment
        self.selection = selection
        self.mark = assignment.mark(selection)
        self.commit = PartitionCommit(
            assignment.source, assignment.tracker.committed, selection.prefix, selection.results
        )

    @property
    def empty(self) -> bool:
        """True if it only writes a mark: there is nothing to say in the journal."""
        return not self.commit.settled and self.commit.prefix_to == self.commit.prefix_from
