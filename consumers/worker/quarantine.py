"""Quarantine: records that may kill their process run alone, and are known to have been started.

A process that dies takes all that runs in it along, and says nothing. What the log knows is that
its partitions were never given up (`Mark.clean`). So:

1. An owner that takes over from one that died counts it in the mark, before it dispatches.
2. While takeovers are counted, the partition is wary: at most `running_max` of its records are run
   and not committed at a time, in order. Fast handlers finish thousands of records between two
   commits, and a death undoes them all; in rounds, whatever killed lies among the first
   `running_max` that are not finished. After a first takeover, which is hardly ever a record's
   doing, each round is twice the last one: should this owner die too, the next has small ones.
   Takeovers are forgotten once as many records as may be in flight have been committed, or where
   some have and the partition has no more to read.
3. At `TAKEOVERS_MAX`, or if the last owner died while a record ran alone, the partition is careful:
   its next `running_max` records run one at a time, in order, and nothing else runs in this process
   meanwhile. It ends early where the partition, some of them run, has no more to read: what killed
   was on the log already.
4. A start is committed before it, an end before anything else runs, whichever partition it is of:
   the log never says of more than one record that it has been started and has not ended, and
   nothing but that record runs meanwhile. So no record is blamed for another's deed. The end of one
   and the start of the next of its partition are one commit. A record whose `STARTS_MAX` starts had
   no end is not started again: it has crashed, and is a dead letter.
5. What fails, or is given up before it ended, counts as not started. But what earlier owners died
   of counts on until the record has its outcome, or has gone from the log: attempts begin anew
   with each owner, and partitions move when a dead process is replaced. While a failed record
   waits for its next attempt, other partitions go on; its own does not, for order's sake.
6. A suspect whose partition is given up is interrupted like any other record, but keeps its room
   until it has ended: whatever ran beside it might die of it. One that does not end would block
   its process for ever (`left_behind`), so the process must end. That counts as nothing: it may
   only be slow, and deaf.
"""

from __future__ import annotations

from consumers.worker.assignment import STARTS_MAX, Assignment, Delivery


class Quarantine:
    """The careful partitions of one worker. At most one record at a time runs alone."""

    def __init__(self) -> None:
        self._careful: dict[Assignment, None] = {}  # in order, so that a run can be repeated
        self._started: Assignment | None = None
        """The partition with a record that the log may call started: until it says that this has
        ended, nothing else may run.
        """
        self.running: Delivery | None = None
        """The record that runs alone now, even if its partition has gone meanwhile."""

    @property
    def mark_due(self) -> bool:
        """Whether records wait until a start, or an end, is committed."""
        started = self._started
        return (started is not None and started.mark_due) or any(
            assignment.mark_due for assignment in self._careful
        )

    @property
    def left_behind(self) -> Delivery | None:
        """The record that runs alone though its partition has gone: nothing else may run."""
        suspect = self.running
        return None if suspect is None or suspect.assignment.live else suspect

    # --- partitions --------------------------------------------------------------------------

    def add(self, assignment: Assignment, before: Assignment | None) -> None:
        """A new assignment; `before` is what it reloads, which may have left a start on the log."""
        if before is not None and before is self._started:
            self._started = assignment
        if assignment.careful:
            self._careful[assignment] = None

    def holds(self, assignment: Assignment) -> bool:
        """Whether its records may not enter their lanes yet."""
        return assignment in self._careful

    def close(self, assignment: Assignment) -> None:
        """It has been careful for long enough: what follows waits for one more commit."""
        assignment.careful = 0
        assignment.mark_due = True

    def committed(self, assignment: Assignment) -> None:
        """The log says of it what there is to say: a start, an end, or that it has an owner."""
        if assignment is self._started and not _under_way(assignment):
            self._started = None

    def drop(self, assignment: Assignment) -> None:
        """It is careful no more: none of its records is started."""
        assignment.careful = 0
        self._careful.pop(assignment, None)
        if assignment.suspect is not self.running:
            assignment.suspect = None

    def unstart(self, assignment: Assignment) -> None:
        """A start of ours is none any more; what earlier owners died of still counts."""
        assignment.suspect_at, assignment.starts = assignment.inherited

    def forget(self, assignment: Assignment) -> None:
        """It is another's: what the log says of it is not ours to end."""
        if assignment is self._started:
            self._started = None

    # --- records -----------------------------------------------------------------------------

    def next(self) -> Assignment | None:
        """The partition that `take` must be asked for now; None: anything may run."""
        if self._started is not None:
            return self._started
        return next(filter(_ready, self._careful), None)

    def take(self, assignment: Assignment) -> Delivery | None:
        """Its record, once its start is committed. Call it while nothing at all runs."""
        if assignment.suspect is None or not _under_way(assignment):
            if not _ready(assignment):
                return None  # there is but an end to be committed
            if assignment.suspect is None:
                assignment.suspect = assignment.backlog.popleft()
                assignment.suspect.alone = True
                assignment.released += 1
            self._start(assignment, assignment.suspect)
        if assignment.mark_due:
            return None
        self.running = assignment.suspect
        assignment.running += 1
        return assignment.suspect

    def _start(self, assignment: Assignment, suspect: Delivery) -> None:
        position = suspect.record.position
        known_at, starts = assignment.inherited
        if known_at is not None and known_at < position:
            assignment.inherited = None, 0  # it has gone from the log
        assignment.suspect_at = position
        assignment.starts = starts + 1 if known_at == position else 1
        if assignment.starts > STARTS_MAX:
            suspect.odd = True  # it will not be started
            return
        self._started = assignment
        assignment.mark_due = True

    def parked(self, assignment: Assignment) -> None:
        """The suspect failed and waits for another attempt."""
        assignment.waits = True
        self._stands_still(assignment)

    def due(self, assignment: Assignment) -> None:
        """It may be started again."""
        assignment.waits = False

    def interrupted(self, assignment: Assignment) -> None:
        """The suspect runs no more, and has not ended: its partition is given up."""
        assignment.suspect = None
        self._stands_still(assignment)

    def ended(self, assignment: Assignment) -> None:
        """The suspect has its outcome."""
        suspect, assignment.suspect = self.running, None
        if suspect is not None and suspect.record.position == assignment.inherited[0]:
            assignment.inherited = None, 0
        self._stands_still(assignment)
        if assignment in self._careful:
            assignment.careful -= 1
            if not assignment.careful:
                self.close(assignment)

    def _stands_still(self, assignment: Assignment) -> None:
        self.running = None
        self.unstart(assignment)
        assignment.mark_due = True


def _under_way(assignment: Assignment) -> bool:
    """Whether it has a suspect that was, or is to be, started by us and has not ended."""
    return (assignment.suspect_at, assignment.starts) != assignment.inherited


def _ready(assignment: Assignment) -> bool:
    """Whether a record of it must run now, alone."""
    return (
        assignment.careful > 0
        and assignment.opened
        and not assignment.waits
        and (assignment.suspect is not None or bool(assignment.backlog))
    )
