"""The worker's decisions, without threads, clock or Kafka."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.journal import journal_payload
from consumers.journal.outcomes import HANDLED, Output, Settled
from consumers.journal.tiling import Tiling
from consumers.window import Window
from consumers.worker import core as core_module
from consumers.worker.assignment import CommitPart, Delivery, record_size
from consumers.worker.core import Core
from consumers.worker.lanes import Ticket
from streams.record import Partition, Record

SOURCE = Partition("ns.tasks", 0)
OTHER = Partition("ns.tasks", 1)
MB = 1024 * 1024


def record(position: int, key: bytes = b"k", source: Partition = SOURCE) -> Record:
    return Record(source.topic, source.index, position, 1_000, key, b"value")


class Fixture:
    """A core and the window that its source would fill."""

    def __init__(self, running_max: int = 100) -> None:
        self.window = Window(1000, 64 * MB)
        self.core = Core(running_max, self.window.release)

    def deliver(self, token: int, *records: Record) -> None:
        self.window.take(len(records), sum(map(record_size, records)))
        self.core.delivered(token, records)

    def run(self) -> list[int]:
        """Everything that may run, runs and finishes."""
        ran = []
        while (ticket := self.core.take()) is not None:
            ran.append(ticket.item.record.position)
            self.finish(ticket)
        return ran

    def finish(self, ticket: Ticket[Delivery]) -> None:
        one = ticket.item.record
        settled = Settled(one.position, one.appended_at_ms, record_size(one), HANDLED, "id")
        self.core.finished(ticket, settled)


def test_finished_records_commit_as_far_as_the_prefix_goes() -> None:
    """Positions go out with the results that they cover, and room comes back."""
    box = Fixture()
    box.core.assigned(1, SOURCE, 5, "meta")
    box.deliver(1, record(5, b"a"), record(6, b"b"), record(9, b"c"))
    first, second, third = (box.core.take() for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is not None
    box.finish(third)
    assert box.core.next_commit() == []
    box.finish(first)
    (part,) = box.core.next_commit()
    assert (part.commit.prefix_from, part.commit.prefix_to) == (5, 6)
    assert [one.position for one in part.commit.settled] == [5]
    box.core.committed([part])
    assert box.window.count == 2
    box.finish(second)
    (part,) = box.core.next_commit()
    assert (part.commit.prefix_from, part.commit.prefix_to) == (6, 10)
    box.core.committed([part])
    assert (box.window.count, box.window.size) == (0, 0)


def test_h03_each_assignment_commits_under_its_own_metadata() -> None:
    """A partition that came later does not refresh what an earlier one commits with."""
    box = Fixture()
    box.core.assigned(1, SOURCE, 0, "generation 1")
    box.core.assigned(2, OTHER, 0, "generation 2")
    box.deliver(1, record(0))
    box.deliver(2, record(0, source=OTHER))
    box.run()
    metadata = {p.commit.source: p.assignment.metadata for p in box.core.next_commit()}
    assert metadata == {SOURCE: "generation 1", OTHER: "generation 2"}


def test_h04_after_an_abort_what_still_stands_goes_into_the_next_commit() -> None:
    """Results of a partition that was lost meanwhile are dropped, the others are not run again."""
    box = Fixture()
    box.core.assigned(1, SOURCE, 0, "m")
    box.core.assigned(2, OTHER, 0, "m")
    box.deliver(1, record(0), record(1))
    box.deliver(2, record(0, source=OTHER))
    box.run()
    parts = box.core.next_commit()
    box.core.give_up([OTHER])
    box.core.aborted(parts)
    (part,) = box.core.next_commit()
    assert part.commit.source == SOURCE
    assert [one.position for one in part.commit.settled] == [0, 1]
    assert box.core.take() is None
    box.core.committed([part])
    assert box.window.count == 0


def test_h04_results_that_finish_during_an_aborted_commit_follow_it_in_order() -> None:
    """The next commit has both, in position order, from the old prefix."""
    box = Fixture()
    box.core.assigned(1, SOURCE, 0, "m")
    box.deliver(1, record(0), record(1))
    first = box.core.take()
    assert first is not None
    box.finish(first)
    parts = box.core.next_commit()
    box.run()
    box.core.aborted(parts)
    (part,) = box.core.next_commit()
    assert [one.position for one in part.commit.settled] == [0, 1]
    assert (part.commit.prefix_from, part.commit.prefix_to) == (0, 2)


def test_h07_after_an_unknown_outcome_the_partitions_are_given_up_and_reloaded() -> None:
    """Neither results nor records of before count; only what the committed position says."""
    box = Fixture()
    box.core.assigned(1, SOURCE, 0, "m")
    box.deliver(1, record(0), record(1), record(2))
    running = box.core.take()
    assert running is not None
    box.finish(running)
    parts = box.core.next_commit()
    assert box.core.unknown(parts) == [SOURCE]
    assert box.core.take() is None
    box.deliver(1, record(3))
    assert box.window.count == 0
    box.core.assigned(2, SOURCE, 1, "m")
    box.deliver(2, record(1), record(2))
    assert box.run() == [1, 2]


def test_a_lost_partition_leaves_nothing_behind() -> None:
    """What waits is dropped, what runs finishes into nothing, the window is free."""
    box = Fixture(running_max=1)
    box.core.assigned(1, SOURCE, 0, "m")
    box.deliver(1, record(0), record(1))
    running = box.core.take()
    assert running is not None
    box.core.give_up([SOURCE])
    assert (box.window.count, box.window.size) == (0, 0)
    box.finish(running)
    assert box.core.next_commit() == []
    assert box.core.take() is None
    assert box.core.lanes.running == 0


def test_a_key_stays_serial_across_losing_and_getting_back_its_partition() -> None:
    """The handler of before still runs: the record waits for it, in this process."""
    box = Fixture()
    box.core.assigned(1, SOURCE, 0, "m")
    box.deliver(1, record(0))
    old = box.core.take()
    assert old is not None
    box.core.give_up([SOURCE])
    box.core.assigned(2, SOURCE, 0, "m")
    box.deliver(2, record(0))
    assert box.core.take() is None
    box.finish(old)
    assert box.run() == [0]


def test_a_stopping_partition_starts_nothing_and_commits_what_ran() -> None:
    """Others go on."""
    box = Fixture(running_max=2)
    box.core.assigned(1, SOURCE, 0, "m")
    box.core.assigned(2, OTHER, 0, "m")
    box.deliver(1, record(0), record(1))
    running = box.core.take()
    assert running is not None
    box.core.stop([SOURCE])
    box.deliver(2, record(0, source=OTHER, key=b"o"))
    assert box.run() == [0]
    assert box.core.running([SOURCE]) == 1
    box.finish(running)
    assert box.core.running([SOURCE]) == 0
    prefixes = {p.commit.source: p.commit.prefix_to for p in box.core.next_commit()}
    assert prefixes == {SOURCE: 1, OTHER: 1}


def test_positions_over_invisible_records_alone_commit_when_idle() -> None:
    """They wait for something to commit with, until asked for."""
    box = Fixture()
    box.core.assigned(1, SOURCE, 3, "m")
    box.core.read_to(1, 7)
    assert box.core.next_commit() == []
    (part,) = box.core.next_commit(also_idle=True)
    assert (part.commit.prefix_from, part.commit.prefix_to, part.commit.settled) == (3, 7, [])
    box.core.committed([part])
    assert box.core.next_commit(also_idle=True) == []


class Schedule:
    """Random runs, aborts, unknown outcomes and losses against a model of the committed log."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        keys = [b"k%d" % self.rng.randrange(4) for _ in range(self.rng.randrange(40))]
        self.log = [record(position, key) for position, key in enumerate(keys)]
        self.box = Fixture(running_max=self.rng.randrange(1, 6))
        self.committed = self.delivered = self.token = 0
        self.effects: list[int] = []
        self.tiling = Tiling()
        self.running: list[Ticket[Delivery]] = []
        self.owned = False

    @property
    def done(self) -> bool:
        return self.committed == len(self.log) and not self.running

    def step(self, *, calm: bool) -> None:
        """One thing happens; nothing bad does while it is calm."""
        if not self.owned:
            self.token += 1
            self.box.core.assigned(self.token, SOURCE, self.committed, "m")
            self.owned, self.delivered = True, self.committed
        actions = [self.deliver, self.take, self.finish, self.commit]
        bad = [self.abort, self.lose_the_answer, self.lose_the_partition]
        self.rng.choice(actions if calm else actions + bad)()

    def deliver(self) -> None:
        batch = self.log[self.delivered : self.delivered + self.rng.randrange(1, 6)]
        self.box.deliver(self.token, *batch)
        self.delivered += len(batch)

    def take(self) -> None:
        if (ticket := self.box.core.take()) is not None:
            self.running.append(ticket)

    def finish(self) -> None:
        if self.running:
            self.box.finish(self.running.pop(self.rng.randrange(len(self.running))))

    def commit(self) -> None:
        parts = self.box.core.next_commit()
        self.happen(parts)
        self.box.core.committed(parts)

    def happen(self, parts: list[CommitPart]) -> None:
        for part in parts:
            self.committed = part.commit.prefix_to
            self.tiling.add(journal_payload("g", part.commit))
            self.effects += [one.position for one in part.commit.settled]

    def abort(self) -> None:
        self.box.core.aborted(self.box.core.next_commit())

    def lose_the_answer(self) -> None:
        if parts := self.box.core.next_commit():
            if self.rng.random() < 0.5:
                self.happen(parts)
            assert self.box.core.unknown(parts) == [SOURCE]
            self.owned = False

    def lose_the_partition(self) -> None:
        self.box.core.give_up([SOURCE])
        self.owned = False


@given(st.integers(0, 2**32))
def test_any_schedule_ends_every_record_once_in_order(seed: int) -> None:
    """No loss, no duplicate effect, key order, and a journal that tiles the source."""
    schedule = Schedule(seed)
    for step in range(5_000):
        schedule.step(calm=step > 400)
        if schedule.done:
            break
    positions = [one.position for one in schedule.log]
    assert schedule.effects == positions
    assert schedule.tiling.check(positions).faults == ()
    schedule.box.core.give_up([SOURCE])
    assert (schedule.box.window.count, schedule.box.window.size) == (0, 0)


def test_a_commit_is_bounded_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs count towards the window and the commit; prefixes chain, nothing is left out."""
    monkeypatch.setattr(core_module, "COMMIT_BYTES_MAX", 250)
    box = Fixture()
    box.core.assigned(1, SOURCE, 0, "meta")
    box.deliver(1, *(record(n, b"k%d" % n) for n in range(5)))
    held = box.window.size
    sizes = [100, 100, 100, 400, 10]
    while (ticket := box.core.take()) is not None:
        one = ticket.item.record
        output = Output("ns.events", b"k", bytes(sizes[one.position]), [])
        settled = Settled(
            one.position, one.appended_at_ms, record_size(one), HANDLED, "id", (output,)
        )
        box.core.finished(ticket, settled)
    assert box.window.size == held + sum(sizes)
    seen = []
    while parts := box.core.next_commit():
        (part,) = parts
        commit = part.commit
        seen.append((commit.prefix_from, commit.prefix_to, len(commit.settled)))
        box.core.committed(parts)
    assert seen == [(0, 2, 2), (2, 3, 1), (3, 4, 1), (4, 5, 1)]
    assert (box.window.count, box.window.size) == (0, 0)


def test_what_a_bounded_commit_left_goes_behind_what_an_abort_gave_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an abort the same records come again, in order."""
    monkeypatch.setattr(core_module, "COMMIT_BYTES_MAX", 10)
    box = Fixture()
    box.core.assigned(1, SOURCE, 0, "meta")
    box.deliver(1, record(0, b"a"), record(1, b"b"))
    while (ticket := box.core.take()) is not None:
        one = ticket.item.record
        output = Output("ns.events", b"k", bytes(10), [])
        settled = Settled(one.position, 0, record_size(one), HANDLED, "id", (output,))
        box.core.finished(ticket, settled)
    parts = box.core.next_commit()
    box.core.aborted(parts)
    (again,) = box.core.next_commit()
    assert [one.position for one in again.commit.settled] == [0]
    assert again.commit.prefix_to == 1
