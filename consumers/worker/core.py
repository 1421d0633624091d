"""The decisions of a worker, as a state machine without threads, clock or clients.

Events come in (assigned, delivered, finished, parked, revoked, lost, and how a commit ended); out
come records to run (`take`) and commits to make (`next_commit`). The shell around it performs both.

Life of a record
----------------
    delivered → waits in its lane → runs → finished → in a commit → committed
                                    ↑  ↓
                                   parked (its key waits for another attempt)

Rules
-----
1. Everything hangs on an assignment: one partition, from when the consumer got it until it was
   revoked, lost or reloaded, under a token of the source's. What arrives or finishes under
   another token never happened.
2. An assignment is opened by a commit of its mark alone: from then on the log says that it has an
   owner who did not give it up yet. Nothing of it runs before.
3. One commit is under way at a time. It holds what has finished, wherever it lies on the
   partition, the position below which everything has, and the mark that says the rest.
4. After a definite abort (H4), results of assignments that still stand go into the next commit.
5. After an unknown outcome (H7), the assignments in the commit are given up and reloaded: only
   the committed positions say what happened.
6. A stopping assignment starts nothing; what waits is given up, what runs may finish and commit.
7. A record leaves the window when its commit succeeded or its assignment was given up. Its
   outputs are in the window with it, from when it finished.
8. A commit takes outputs up to `COMMIT_BYTES_MAX`, and at least one record. Where that is not room
   for all, the next one begins behind the partition that was served last.
9. Where owners keep dying, records run alone for a while (`quarantine`, H11).
10. Records below the committed position are read to know what repeats: they are remembered, and
    nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final

from consumers.journal.outcomes import Settled
from consumers.marks import Mark
from consumers.worker.assignment import Assignment, CommitPart, Delivery, record_size
from consumers.worker.duplicates import TELLING, repeats
from consumers.worker.lanes import Gates, KeyLanes, no_gates
from consumers.worker.quarantine import Quarantine
from consumers.worker.turns import CommitTurns
from streams.dead_letters import DLQ_TOPIC
from streams.envelope import PRIORITY_DEFAULT, PRIORITY_MAX, PRIORITY_MIN
from streams.headers import PRIORITY, REDRIVE, REDRIVE_FOR, REPLAY_OF, TYPE
from streams.record import Partition, Record

HELD_SHARE: Final = 4
"""A partition that a full mark keeps from committing is read on until it holds one in so many of
the records that may be in flight."""

_PRIORITIES: Final = {
    b"%d" % priority: priority for priority in range(PRIORITY_MIN, PRIORITY_MAX + 1)
}

_ODD: Final = (REDRIVE, REDRIVE_FOR, REPLAY_OF, DLQ_TOPIC)
_RARE: Final = frozenset((*TELLING, *_ODD))
"""Headers that call for a closer look."""


class Core:
    """See the module's rules. `release(count, bytes)` gives room back to the window."""

    def __init__(
        self,
        running_max: int,
        release: Callable[[int, int], None],
        *,
        gates: Gates = no_gates,
        dedup_window: int = 0,
        in_flight_max: int = 10_000,
    ) -> None:
        """`in_flight_max`: what the window lets this worker hold, in records."""
        self.lanes: KeyLanes[Delivery] = KeyLanes(running_max)
        self._release = release
        self._gates = gates
        self._dedup_window = dedup_window
        self._in_flight_max = in_flight_max
        self._by_token: dict[int, Assignment] = {}
        self._by_source: dict[Partition, Assignment] = {}
        self._reloading: dict[Partition, Assignment] = {}
        """Given up by ourselves, and expected back."""
        self._quarantine = Quarantine()
        self._turns = CommitTurns()

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """What is ours now."""
        return tuple(self._by_source.values())

    # --- what the source tells ---------------------------------------------------------------

    def assigned(
        self, token: int, source: Partition, position: int, mark: str, metadata: Any
    ) -> None:
        """A partition became ours, from its committed position on, with that commit's mark."""
        before = self._reloading.pop(source, None)
        self.give_up((source,))
        assignment = Assignment(
            token,
            source,
            Mark.decode(position, mark),
            metadata,
            careful_max=self.lanes.running_max,
            wary_max=self._in_flight_max,
            dedup_window=self._dedup_window,
            before=before,
        )
        self._by_token[token] = self._by_source[source] = assignment
        self._quarantine.add(assignment, before)

    def delivered(self, token: int, records: Sequence[Record]) -> None:
        """Records of one partition, in order."""
        assignment = self._by_token.get(token)
        if assignment is None or assignment.stopping:
            self._release(len(records), sum(map(record_size, records)))
            return
        source, position, tracker = assignment.source, assignment.position, assignment.tracker
        held = assignment.wary or not assignment.opened or self._quarantine.holds(assignment)
        offer = None if held else self.lanes.offer
        gates, recent = self._gates, assignment.recent
        count = size = dropped = dropped_size = 0
        for record in records:
            headers = dict(record.headers)
            rare = not headers.keys().isdisjoint(_RARE)
            duplicate = repeats(recent, record, headers, telling=rare)
            floor = tracker.admit(record.position) if record.position >= position else None
            record_bytes = record_size(record)
            if floor is None:
                dropped += 1
                dropped_size += record_bytes
                continue
            count += 1
            size += record_bytes
            odd = duplicate or (rare and not headers.keys().isdisjoint(_ODD))
            delivery = Delivery(
                record, assignment, floor, record_bytes, duplicate=duplicate, odd=odd
            )
            if offer is None:
                assignment.backlog.append(delivery)
                continue
            offer(
                _lane_key(source, record),
                _PRIORITIES.get(headers.get(PRIORITY) or b"", PRIORITY_DEFAULT),
                delivery,
                gates(headers.get(TYPE) or b""),
            )
        assignment.count += count
        assignment.size += size
        if assignment.wary:
            self._to_lanes(assignment)
        if dropped:
            self._release(dropped, dropped_size)

    def read_to(self, token: int, position: int) -> None:
        """The consumer has passed everything below `position`, markers included."""
        assignment = self._by_token.get(token)
        if assignment is None or assignment.stopping:
            return
        assignment.tracker.pass_to(position)
        # Whatever was in flight when its last owner died is finished. (Before anything has been
        # tried, a position says nothing about what is still to come.)
        if assignment.tracker.unfinished:
            return
        if assignment.careful and assignment.careful < self.lanes.running_max:
            self._quarantine.close(assignment)
        elif assignment.wary and assignment.wary < self._in_flight_max:
            self._forgive(assignment)

    @property
    def waiting(self) -> int:
        """Records that wait for their key, for room to run, or for their partition to open."""
        return self.lanes.waiting + sum(len(a.backlog) for a in self._by_source.values())

    # --- what runs ---------------------------------------------------------------------------

    def take(self) -> Delivery | None:
        """The next record to run; `finished` or `parked` must follow. None: nothing may, now."""
        if self._quarantine.running:
            return None
        if (suspicious := self._quarantine.next()) is not None:
            return None if self.lanes.running else self._quarantine.take(suspicious)
        delivery = self.lanes.take()
        if delivery is not None:
            delivery.assignment.running += 1
        return delivery

    @property
    def may_take(self) -> int:
        """At least this many more may run at once, as far as keys go."""
        return min(self.lanes.running_max - self.lanes.running, self.lanes.ready)

    def finished(self, delivery: Delivery, settled: Settled | None) -> None:
        """A record has run. None: it has no outcome (it was interrupted), so it blocks the prefix
        until its assignment ends.
        """
        assignment = delivery.assignment
        assignment.running -= 1
        if not delivery.alone:
            self.lanes.finish(delivery)
        elif settled is not None:
            self._quarantine.ended(assignment)
        else:
            self._quarantine.interrupted(assignment)
        if settled is not None and assignment.live:
            assignment.tracker.finish(settled.position, delivery.floor, settled)
            if outputs_size := settled.outputs_size:
                assignment.size += outputs_size
                self._release(0, -outputs_size)

    def parked(self, delivery: Delivery) -> None:
        """It has to run again, later: it keeps its key until `due`."""
        delivery.assignment.running -= 1
        if delivery.alone:
            self._quarantine.parked(delivery.assignment)
        else:
            self.lanes.park(delivery)

    def due(self, delivery: Delivery) -> bool:
        """A parked record may run again. False: it is not ours any more."""
        assignment = delivery.assignment
        if not assignment.live or assignment.stopping:
            return False
        if not delivery.alone:
            return self.lanes.unpark(delivery)
        self._quarantine.due(assignment)
        return True

    @property
    def mark_due(self) -> bool:
        """Whether records wait until the start of one, or its end, is committed."""
        return self._quarantine.mark_due

    @property
    def left_behind(self) -> Delivery | None:
        """What runs alone though its partition has gone: until it ends nothing else may run."""
        return self._quarantine.left_behind

    # --- commits -----------------------------------------------------------------------------

    def settled_of(self, sources: Iterable[Partition] | None = None) -> bool:
        """True if these partitions (None: any) have something that a commit could take now."""
        return any(
            a.owes_mark or (a.tracker.finished and not a.full)
            for source in (self._by_source if sources is None else sources)
            if (a := self._by_source.get(source)) is not None
        )

    def next_commit(self, *, also_idle: bool = False) -> list[CommitPart]:
        """What the next transaction settles; empty if there is nothing.

        With `also_idle`, partitions too whose prefix moved over invisible positions alone.
        """
        return self._turns.next(self.assignments, also_idle=also_idle)

    def committed(self, parts: Iterable[CommitPart]) -> None:
        """The transaction committed."""
        for part in parts:
            assignment, commit = part.assignment, part.commit
            assignment.tracker.committed_as(part.selection)
            if not assignment.live:
                continue
            size = sum(one.size + one.outputs_size for one in commit.settled)
            assignment.count -= len(commit.settled)
            assignment.size -= size
            self._release(len(commit.settled), size)
            if assignment.wary:
                self._advance(assignment, len(commit.settled))
            if assignment.mark_due and _says(part.mark, assignment):
                assignment.mark_due = False
                self._quarantine.committed(assignment)
                self._open(assignment)

    def aborted(self, parts: Iterable[CommitPart]) -> None:
        """Nothing of the transaction happened: what still stands is committed next time."""
        for part in parts:
            if part.assignment.live:
                part.assignment.tracker.returned(part.selection)

    def unknown(self, parts: Iterable[CommitPart]) -> list[Partition]:
        """Nobody knows whether it happened: these partitions must be reloaded."""
        gone = {part.assignment.source: part.assignment for part in parts if part.assignment.live}
        self._remove(gone)
        self._reloading |= gone
        return list(gone)

    def oldest(self) -> Record | None:
        """The record that has waited longest, for its key, for room or for another attempt."""
        waiting = [a.backlog[0].record for a in self._by_source.values() if a.backlog]
        if (entry := self.lanes.oldest()) is not None:
            waiting.append(entry.record)
        return min(waiting, key=lambda record: record.appended_at_ms, default=None)

    def held(self) -> set[Partition]:
        """Partitions that should not be read on, for they hold much of the window: a full mark
        keeps what finished from committing; or what came may not enter its lanes yet, and others
        would have no room.
        """
        held_max = self._in_flight_max // HELD_SHARE
        share = self._in_flight_max // max(HELD_SHARE, len(self._by_source))
        for assignment in self._by_source.values():
            # To pause costs what the client has queued, so not for every few records.
            backlog_max = share // 2 if assignment.held else share
            assignment.held = assignment.opened and len(assignment.backlog) > backlog_max
        return {
            a.source for a in self._by_source.values() if a.held or (a.full and a.count > held_max)
        }

    # --- giving up ---------------------------------------------------------------------------

    def stop(self, sources: Iterable[Partition] | None = None) -> None:
        """Start nothing more of these partitions (None: of any); what runs may finish."""
        for source in tuple(self._by_source) if sources is None else sources:
            if (assignment := self._by_source.get(source)) is not None:
                assignment.stopping = True
                assignment.backlog.clear()
                self._quarantine.drop(assignment)
        self.lanes.discard(lambda delivery: delivery.assignment.stopping)

    def leave(self, sources: Iterable[Partition]) -> None:
        """These are given up in order: the next commit says so, once."""
        for source in sources:
            assignment = self._by_source.get(source)
            if assignment is not None and not assignment.clean:
                # What we never opened is left as its last owner left it.
                assignment.clean = assignment.mark_due = assignment.ours
                self._quarantine.unstart(assignment)

    def running(self, sources: Iterable[Partition] | None = None) -> int:
        """Records of these partitions (None: of all) that are in handlers."""
        wanted = self._by_source if sources is None else sources
        return sum(
            self._by_source[source].running for source in wanted if source in self._by_source
        )

    def give_up(self, sources: Iterable[Partition]) -> None:
        """These partitions are not ours any more: whatever was not committed is dropped."""
        sources = tuple(sources)
        for source in sources:
            for known in (self._reloading.pop(source, None), self._by_source.get(source)):
                if known is not None:
                    self._quarantine.forget(known)
        self._remove(sources)

    def _remove(self, sources: Iterable[Partition]) -> None:
        gone = [
            assignment
            for source in sources
            if (assignment := self._by_source.pop(source, None)) is not None
        ]
        if not gone:
            return
        for assignment in gone:
            assignment.live = False
            assignment.backlog.clear()
            self._quarantine.drop(assignment)
            del self._by_token[assignment.token]
            self._release(assignment.count, assignment.size)
        self.lanes.discard(lambda delivery: not delivery.assignment.live)

    def _open(self, assignment: Assignment) -> None:
        assignment.opened = True
        if not assignment.careful:
            self._quarantine.drop(assignment)
            self._to_lanes(assignment)

    def _advance(self, assignment: Assignment, committed: int) -> None:
        """A wary partition's commit makes room for the next of its records."""
        assignment.released -= committed
        assignment.wary -= min(committed, assignment.wary)
        if not assignment.wary:
            self._forgive(assignment)
        self._to_lanes(assignment)

    def _forgive(self, assignment: Assignment) -> None:
        """Its last owners' deaths were not this partition's doing; the next mark says so."""
        assignment.wary = assignment.takeovers = 0
        self._to_lanes(assignment)

    def _to_lanes(self, assignment: Assignment) -> None:
        """What waits in order goes by key, as far as it may."""
        if not assignment.opened or self._quarantine.holds(assignment):
            return
        round_max = self.lanes.running_max
        if assignment.takeovers == 1:  # a death says little yet: each round is twice the last
            round_max += self._in_flight_max - assignment.wary
        while assignment.backlog:
            if assignment.wary and assignment.released >= round_max:
                return
            assignment.released += 1
            delivery = assignment.backlog.popleft()
            headers = dict(delivery.record.headers)
            self.lanes.offer(
                _lane_key(assignment.source, delivery.record),
                _PRIORITIES.get(headers.get(PRIORITY) or b"", PRIORITY_DEFAULT),
                delivery,
                self._gates(headers.get(TYPE) or b""),
            )


def _says(mark: Mark, assignment: Assignment) -> bool:
    """Whether a mark that was committed is what the assignment wants said."""
    wanted = (assignment.clean, assignment.suspect_at, assignment.starts)
    return (mark.clean, mark.suspect, mark.starts) == wanted


def _lane_key(source: Partition, record: Record) -> Hashable | None:
    # A key stays on one partition, so the topic's name is enough to tell keys apart.
    return None if record.key is None else (source.topic, record.key)
