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
4. Each start is committed before it, and with it the end of the record before; the end of the last
   one is committed before others of its partition run, so that no record is blamed for the next.
   One whose `STARTS_MAX` starts had no end is not started again: it has crashed, and is a dead
   letter.
5. A failure is an end. While a failed record waits for its next attempt, other partitions go on;
   its own does not, for order's sake.
6. A suspect whose partition is given up is interrupted like any other record, but keeps its room
   until it has ended: whatever ran beside it might die of it. One that does not end would block
   its process for ever (`left_behind`), so the process must end.
"""

from __future__ import annotations

from consumers.worker.assignment import STARTS_MAX, Assignment, Delivery


class Quarantine:
    """The careful partitions of one worker. At most one record at a time runs alone."""

    def __init__(self) -> None:
        self._careful: dict[Assignment, None] = {}  # in order, so that a run can be repeated
        self.running: Delivery | None = None
        """The record that runs alone now, even if its partition has gone meanwhile."""

    @property
    def mark_due(self) -> bool:
        """Whether a record waits for its start to be committed."""
        return any(assignment.mark_due for assignment in self._careful)

    @property
    def left_behind(self) -> Delivery | None:
        """The record that runs alone though its partition has gone: nothing else may run."""
        suspect = self.running
        return None if suspect is None or suspect.assignment.live else suspect

    def add(self, assignment: Assignment) -> None:
        """A new assignment; nothing happens unless it is careful."""
        if assignment.careful:
            self._careful[assignment] = None

    def holds(self, assignment: Assignment) -> bool:
        """Whether its records may not enter their lanes yet."""
        return assignment in self._careful

    def close(self, assignment: Assignment) -> None:
        """It has been careful for long enough: what follows waits for one more commit."""
        assignment.careful = 0
        assignment.mark_due = True

    def drop(self, assignment: Assignment) -> None:
        """It is careful no more, or not ours."""
        assignment.careful = 0
        self._careful.pop(assignment, None)

    def next(self) -> Assignment | None:
        """The partition whose record must run now, with nothing beside it; None: anything may.

        Whose record is chosen goes first: its start may be on the log, and if another's killed
        before it ran, it would be blamed.
        """
        first = None
        for assignment in self._careful:
            if not assignment.careful or assignment.waits or not assignment.opened:
                continue
            if assignment.suspect is not None:
                return assignment
            if first is None and assignment.backlog:
                first = assignment
        return first

    def take(self, assignment: Assignment) -> Delivery | None:
        """Its record, once its start is committed. Call it while nothing at all runs."""
        if assignment.mark_due:
            return None
        if assignment.suspect is None and not self._choose(assignment):
            return None
        self.running = assignment.suspect
        assignment.running += 1
        return assignment.suspect

    def _choose(self, assignment: Assignment) -> bool:
        """The next record in order is the suspect. True if it needs no start to be committed."""
        suspect = assignment.suspect = assignment.backlog.popleft()
        suspect.alone = True
        assignment.released += 1
        position = suspect.record.position
        again = position == assignment.suspect_at
        assignment.suspect_at = position
        assignment.starts = assignment.starts + 1 if again else 1
        if assignment.starts > STARTS_MAX:
            suspect.odd = True  # it will not be started
            return True
        assignment.mark_due = True
        return False

    def parked(self, assignment: Assignment) -> None:
        """The suspect failed and waits for another attempt."""
        self.running = None
        assignment.waits = True

    def due(self, assignment: Assignment) -> None:
        """It may be started again: its last start had an end."""
        assignment.waits = False
        assignment.starts = 1
        assignment.mark_due = True

    def ended(self, assignment: Assignment) -> None:
        """The suspect has ended."""
        self.running = None
        assignment.suspect = assignment.suspect_at = None
        assignment.starts = 0
        if assignment in self._careful:
            assignment.careful -= 1
            if not assignment.careful:
                self.close(assignment)
