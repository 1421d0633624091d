"""The decisions of a worker, as a state machine without threads, clock or clients.

Events come in (assigned, delivered, finished, revoked, lost, and how a commit ended); out come
records to run (`take`) and commits to make (`next_commit`). The shell around it performs both.

Life of a record
----------------
    delivered → waits in its lane → runs → finished → settled (prefix passed it) → committed

Rules
-----
1. Everything hangs on an assignment: one partition, from when the consumer got it until it was
   revoked, lost or reloaded, under a token of the source's. What arrives or finishes under
   another token never happened.
2. One commit is under way at a time. It holds, per partition, what the prefix has passed.
3. After a definite abort (H4), results of assignments that still stand go into the next commit.
4. After an unknown outcome (H7), the assignments in the commit are given up and reloaded: only
   the committed positions say what happened.
5. A stopping assignment starts nothing; what waits is given up, what runs may finish and commit.
6. A record leaves the window when its commit succeeded or its assignment was given up. Its
   outputs are in the window with it, from when it finished.
7. A commit takes outputs up to `COMMIT_BYTES_MAX`, and at least one record; the prefix that it
   carries ends before the first that it leaves to the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final

from consumers.journal import PartitionCommit
from consumers.journal.outcomes import Settled
from consumers.window import RECORD_OVERHEAD_BYTES
from consumers.worker.lanes import KeyLanes, Ticket
from consumers.worker.tracking import PartitionTracker
from streams.envelope import PRIORITY_DEFAULT, PRIORITY_MAX, PRIORITY_MIN
from streams.headers import PRIORITY
from streams.record import Partition, Record

COMMIT_BYTES_MAX: Final = 16 * 1024 * 1024
"""Outputs of one transaction, in bytes of values: what surely fits its timeout."""

_PRIORITIES: Final = {
    b"%d" % priority: priority for priority in range(PRIORITY_MIN, PRIORITY_MAX + 1)
}


def record_size(record: Record) -> int:
    """Bytes that a record holds in the window: key, value and a fixed share for the rest."""
    return len(record.value or b"") + len(record.key or b"") + RECORD_OVERHEAD_BYTES


class Assignment:
    """One partition while it is ours. `metadata` is the group's, as it was when we got it (H3)."""

    __slots__ = (
        "count",
        "live",
        "metadata",
        "returned",
        "running",
        "size",
        "source",
        "stopping",
        "token",
        "tracker",
    )

    def __init__(self, token: int, source: Partition, position: int, metadata: Any) -> None:
        self.token = token
        self.source = source
        self.metadata = metadata
        self.tracker: PartitionTracker[Settled] = PartitionTracker(position)
        self.returned: list[Settled] = []
        """Settled results that an aborted commit gave back."""
        self.running = 0
        self.count = 0
        self.size = 0
        self.live = True
        self.stopping = False


class Delivery:
    """A record under the assignment that it arrived by."""

    __slots__ = ("assignment", "record")

    def __init__(self, record: Record, assignment: Assignment) -> None:
        self.record = record
        self.assignment = assignment


class CommitPart:
    """One partition's share of a commit."""

    __slots__ = ("assignment", "commit")

    def __init__(self, assignment: Assignment, commit: PartitionCommit) -> None:
        self.assignment = assignment
        self.commit = commit


class Core:
    """See the module's rules. `release(count, bytes)` gives room back to the window."""

    def __init__(self, running_max: int, release: Callable[[int, int], None]) -> None:
        self.lanes: KeyLanes[Delivery] = KeyLanes(running_max)
        self._release = release
        self._by_token: dict[int, Assignment] = {}
        self._by_source: dict[Partition, Assignment] = {}

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """What is ours now."""
        return tuple(self._by_source.values())

    # --- what the source tells ---------------------------------------------------------------

    def assigned(self, token: int, source: Partition, position: int, metadata: Any) -> None:
        """A partition became ours, from its committed position on."""
        self.give_up((source,))
        assignment = Assignment(token, source, position, metadata)
        self._by_token[token] = self._by_source[source] = assignment

    def delivered(self, token: int, records: Sequence[Record]) -> None:
        """Records of one partition, in order."""
        assignment = self._by_token.get(token)
        size = sum(map(record_size, records))
        if assignment is None or assignment.stopping:
            self._release(len(records), size)
            return
        assignment.count += len(records)
        assignment.size += size
        admit, offer, source = assignment.tracker.admit, self.lanes.offer, assignment.source
        for record in records:
            admit(record.position)
            offer(_lane_key(source, record), _priority(record), Delivery(record, assignment))

    def read_to(self, token: int, position: int) -> None:
        """The consumer has passed everything below `position`, markers included."""
        assignment = self._by_token.get(token)
        if assignment is not None and not assignment.stopping:
            assignment.tracker.read_to(position)

    # --- what runs ---------------------------------------------------------------------------

    def take(self) -> Ticket[Delivery] | None:
        """The next record to run; `finished` must follow."""
        ticket = self.lanes.take()
        if ticket is not None:
            ticket.item.assignment.running += 1
        return ticket

    def finished(self, ticket: Ticket[Delivery], settled: Settled | None) -> None:
        """A record has run. None: it has no outcome (it was interrupted), so it blocks the prefix
        until its assignment ends.
        """
        assignment = ticket.item.assignment
        assignment.running -= 1
        self.lanes.finish(ticket)
        if settled is not None and assignment.live:
            assignment.tracker.finish(settled.position, settled)
            if outputs_size := settled.outputs_size:
                assignment.size += outputs_size
                self._release(0, -outputs_size)

    # --- commits -----------------------------------------------------------------------------

    def settled_of(self, sources: Iterable[Partition] | None = None) -> bool:
        """True if these partitions (None: any) have results that no commit holds."""
        return any(
            a.returned or a.tracker.settled
            for source in (self._by_source if sources is None else sources)
            if (a := self._by_source.get(source)) is not None
        )

    def next_commit(self, *, also_idle: bool = False) -> list[CommitPart]:
        """What the next transaction settles; empty if there is nothing.

        With `also_idle`, partitions too whose prefix moved over invisible positions alone.
        """
        parts: list[CommitPart] = []
        room = COMMIT_BYTES_MAX
        for assignment in self._by_source.values():
            tracker = assignment.tracker
            settled = assignment.returned + tracker.take_settled()
            taken, room = _as_far_as(room, settled, at_least_one=not parts)
            assignment.returned = settled[taken:]
            prefix = settled[taken].position if taken < len(settled) else tracker.prefix
            if taken or (also_idle and not settled and prefix > tracker.committed):
                commit = PartitionCommit(
                    assignment.source, tracker.committed, prefix, settled[:taken]
                )
                parts.append(CommitPart(assignment, commit))
        return parts

    def committed(self, parts: Iterable[CommitPart]) -> None:
        """The transaction committed."""
        for part in parts:
            assignment, commit = part.assignment, part.commit
            assignment.tracker.committed = commit.prefix_to
            if assignment.live:
                size = sum(one.size + one.outputs_size for one in commit.settled)
                assignment.count -= len(commit.settled)
                assignment.size -= size
                self._release(len(commit.settled), size)

    def aborted(self, parts: Iterable[CommitPart]) -> None:
        """Nothing of the transaction happened: what still stands is committed next time."""
        for part in parts:
            if part.assignment.live:
                part.assignment.returned = [*part.commit.settled, *part.assignment.returned]

    def unknown(self, parts: Iterable[CommitPart]) -> list[Partition]:
        """Nobody knows whether it happened: these partitions must be reloaded."""
        sources = [part.assignment.source for part in parts if part.assignment.live]
        self.give_up(sources)
        return sources

    # --- giving up ---------------------------------------------------------------------------

    def stop(self, sources: Iterable[Partition] | None = None) -> None:
        """Start nothing more of these partitions (None: of any); what runs may finish."""
        for source in tuple(self._by_source) if sources is None else sources:
            if (assignment := self._by_source.get(source)) is not None:
                assignment.stopping = True
        self.lanes.discard(lambda delivery: delivery.assignment.stopping)

    def running(self, sources: Iterable[Partition] | None = None) -> int:
        """Records of these partitions (None: of all) that are in handlers."""
        wanted = self._by_source if sources is None else sources
        return sum(
            self._by_source[source].running for source in wanted if source in self._by_source
        )

    def give_up(self, sources: Iterable[Partition]) -> None:
        """These partitions are not ours any more: whatever was not committed is dropped."""
        gone = [a for s in sources if (a := self._by_source.pop(s, None)) is not None]
        if not gone:
            return
        for assignment in gone:
            assignment.live = False
            del self._by_token[assignment.token]
            self._release(assignment.count, assignment.size)
        self.lanes.discard(lambda delivery: not delivery.assignment.live)


def _as_far_as(room: int, settled: Sequence[Settled], *, at_least_one: bool) -> tuple[int, int]:
    """How many of these, from the first, have room for their outputs; and the room then left."""
    for index, one in enumerate(settled):
        if one.outputs_size > room and not (at_least_one and index == 0):
            return index, 0
        room -= one.outputs_size
    return len(settled), max(room, 0)


def _lane_key(source: Partition, record: Record) -> Hashable | None:
    # A key stays on one partition, so the partition's number keeps the pair small to hash.
    return None if record.key is None else (source.topic, record.key)


def _priority(record: Record) -> int:
    for name, value in record.headers:
        if name == PRIORITY:
            return _PRIORITIES.get(value, PRIORITY_DEFAULT)
    return PRIORITY_DEFAULT
