"""What is finished of a partition, whatever finishes when and wherever the log has holes."""

from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers import marks
from consumers.marks import Mark
from consumers.worker.tracking import PartitionTracker, Selection

ALL = lambda _result: True  # noqa: E731


def commit(tracker: PartitionTracker[int]) -> tuple[int, list[int], list[tuple[int, int]]]:
    """A commit that succeeds: (position, results, intervals beyond it)."""
    selection = tracker.select(ALL)
    tracker.committed_as(selection)
    return selection.prefix, selection.results, list(selection.beyond)


def test_what_finished_beyond_the_prefix_is_committed_with_it() -> None:
    """The position stops at the lowest unfinished one; the mark has the rest."""
    tracker: PartitionTracker[int] = PartitionTracker(10)
    floors = {position: tracker.admit(position) for position in (10, 11, 12, 13)}
    assert floors == {10: 10, 11: 11, 12: 12, 13: 13}
    for position in (13, 11):
        tracker.finish(position, position, position)
    assert commit(tracker) == (10, [11, 13], [(11, 12), (13, 14)])
    assert (tracker.committed, tracker.committed_beyond, tracker.unfinished) == (10, 2, 2)
    tracker.finish(10, 10, 10)
    assert commit(tracker) == (12, [10], [(13, 14)])
    tracker.finish(12, 12, 12)
    assert commit(tracker) == (14, [12], [])


def test_invisible_positions_break_no_interval() -> None:
    """Markers, aborted and compacted records are covered with the record right behind them."""
    tracker: PartitionTracker[int] = PartitionTracker(0)
    floors = [tracker.admit(position) for position in (3, 7, 9)]
    assert floors == [0, 4, 8]
    tracker.finish(7, 4, 7)
    tracker.finish(9, 8, 9)
    assert commit(tracker) == (0, [7, 9], [(4, 10)])
    tracker.finish(3, 0, 3)
    assert commit(tracker) == (10, [3], [])


def test_a_tail_of_markers_is_passed_with_the_consumers_position() -> None:
    """When all that was read is finished, the position is where the consumer reads next."""
    tracker: PartitionTracker[int] = PartitionTracker(0)
    tracker.admit(0)
    tracker.pass_to(4)
    assert commit(tracker) == (0, [], [])
    tracker.finish(0, 0, 0)
    tracker.pass_to(2)
    assert commit(tracker) == (4, [0], [])


def test_markers_that_were_passed_while_something_ran_do_not_hold_the_position_up() -> None:
    """Something may always be running: the position must not wait for a moment of rest."""
    tracker: PartitionTracker[int] = PartitionTracker(0)
    tracker.admit(0)
    tracker.pass_to(3)
    floor = tracker.admit(3)
    assert floor is not None
    tracker.admit(4)
    tracker.finish(0, 0, 0)
    tracker.finish(3, floor, 3)
    assert commit(tracker) == (4, [0, 3], [])


def test_what_an_earlier_owner_finished_is_not_admitted_again() -> None:
    """Nor does a position that has gone since hold the new owner up."""
    tracker: PartitionTracker[int] = PartitionTracker(5, [(6, 9), (12, 14)])
    admitted = {p: tracker.admit(p) for p in (7, 8, 10, 12, 13, 14, 15)}
    assert [p for p, floor in admitted.items() if floor is None] == [7, 8, 12, 13]
    assert tracker.unfinished == 3
    for position in (10, 14):
        tracker.finish(position, admitted[position] or 0, position)
    # 5 and 6 were removed from the log meanwhile, 9 and 11 were never visible.
    assert commit(tracker) == (15, [10, 14], [])


def test_a_position_that_was_passed_is_refused() -> None:
    """It was taken for no record: a source that goes back needs a new assignment, not this one."""
    tracker: PartitionTracker[int] = PartitionTracker(5)
    tracker.admit(6)
    with pytest.raises(ValueError, match="position 5 arrived after 6"):
        tracker.admit(5)
    tracker.pass_to(9)
    with pytest.raises(ValueError, match="position 7"):
        tracker.admit(7)


def test_h14_a_record_that_arrives_again_is_nothing_to_do() -> None:
    """Whether it waits, has finished, is committed, or was a predecessor's."""
    tracker: PartitionTracker[int] = PartitionTracker(5, [(7, 8)])
    floors = {position: tracker.admit(position) for position in (5, 6, 7, 9)}
    tracker.finish(5, floors[5] or 0, 5)
    tracker.finish(6, floors[6] or 0, 6)
    assert commit(tracker)[0] == 8
    assert [tracker.admit(position) for position in (5, 6, 7, 9)] == [None] * 4
    assert (tracker.unfinished, tracker.read_to) == (1, 10)


def test_a_commit_takes_the_lowest_positions_that_there_is_room_for() -> None:
    """What is left stays for the next."""
    tracker: PartitionTracker[int] = PartitionTracker(0)
    for position in range(4):
        tracker.admit(position)
    for position in (3, 1, 0):
        tracker.finish(position, position, position)
    selection = tracker.select(lambda result: result < 3)
    assert (selection.results, selection.prefix, selection.full) == ([0, 1], 2, False)
    tracker.committed_as(selection)
    assert tracker.finished == 1
    assert commit(tracker) == (2, [3], [(3, 4)])


def test_what_an_abort_gave_back_is_selected_again_in_order() -> None:
    """Together with what finished meanwhile."""
    tracker: PartitionTracker[int] = PartitionTracker(0)
    for position in range(3):
        tracker.admit(position)
    tracker.finish(2, 2, 2)
    selection = tracker.select(ALL)
    tracker.finish(0, 0, 0)
    tracker.returned(selection)
    assert commit(tracker) == (1, [0, 2], [(2, 3)])


def test_a_mark_is_full_whatever_else_there_was_no_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever takes a commit without anything for one that was cut short asks for ever."""
    monkeypatch.setattr(marks, "_RUNS_BYTES_MAX", 4)
    tracker: PartitionTracker[int] = PartitionTracker(0, [(2, 3), (4, 6)])
    for position in range(11):
        tracker.admit(position)
    tracker.finish(8, 8, 8)
    tracker.finish(10, 10, 10)
    rooms = iter((True, False))
    selection = tracker.select(lambda _: next(rooms))
    assert (selection.results, selection.full) == ([], True)


def test_h10_what_the_mark_has_no_room_for_waits_until_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record that holds the position up always has room when it finishes at last."""
    monkeypatch.setattr(marks, "_RUNS_BYTES_MAX", 8)
    tracker: PartitionTracker[int] = PartitionTracker(0)
    for position in range(40):
        tracker.admit(position)
    for position in range(1, 40, 2):
        tracker.finish(position, position, position)
    selection = tracker.select(ALL)
    assert selection.results == [1, 3]
    assert selection.full
    tracker.committed_as(selection)
    while commit(tracker)[1]:
        pass
    assert tracker.beyond == [(1, 2), (3, 4), (5, 6), (7, 8)]
    assert tracker.finished == 16
    for position in range(0, 40, 2):
        tracker.finish(position, position, position)
        commit(tracker)
    while tracker.finished:
        commit(tracker)
    assert (tracker.committed, tracker.beyond) == (40, [])


class Owners:
    """Owners of one partition, one after the other, against a naive model of what is durable."""

    def __init__(self, visible: list[int], end: int) -> None:
        self.visible = visible
        self.end = end
        self.durable: list[int] = []
        self.mark = Mark(0)
        self.selection: Selection[int] | None = None
        self.take_over()

    def take_over(self, _n: int = 0) -> None:
        """The mark of the last commit is all that a new owner knows."""
        self.mark = Mark.decode(self.mark.position, self.mark.encode())
        self.tracker: PartitionTracker[int] = PartitionTracker(
            self.mark.position, self.mark.finished
        )
        self.at = self.mark.position
        self.running: dict[int, int] = {}
        self.selection = None

    def read(self, n: int) -> None:
        for position in [p for p in self.visible if p >= self.at][: n % 3 + 1]:
            floor = self.tracker.admit(position)
            self.at = position + 1
            assert (floor is None) == (position in self.durable), position
            if floor is not None:
                self.running[position] = floor

    def pass_on(self, n: int) -> None:
        """The consumer passes invisible positions, and tells."""
        following = next((p for p in self.visible if p >= self.at), self.end)
        self.at = min(self.at + n % 4 + 1, following)
        self.tracker.pass_to(self.at)

    def finish(self, n: int) -> None:
        if self.running:
            position = sorted(self.running)[n % len(self.running)]
            self.tracker.finish(position, self.running.pop(position), position)

    def begin_commit(self, n: int) -> None:
        if self.selection is None:
            room = iter([True] * (n % 9))
            self.selection = self.tracker.select(lambda _: n % 3 > 0 or next(room, False))

    def succeed(self, _n: int = 0) -> None:
        if (selection := self.selection) is None:
            return
        self.selection = None
        self.tracker.committed_as(selection)
        self.durable += selection.results
        self.mark = Mark(selection.prefix, tuple(selection.beyond))
        self.check()

    def commit(self, n: int) -> None:
        self.begin_commit(n)
        self.succeed()

    def abort(self, _n: int) -> None:
        if self.selection is not None:
            self.tracker.returned(self.selection)
            self.selection = None

    def check(self) -> None:
        """Position and mark say exactly what is durable."""
        assert len(set(self.durable)) == len(self.durable)
        spans = self.mark.finished
        said = {
            p
            for p in self.visible
            if p < self.mark.position or any(start <= p < stop for start, stop in spans)
        }
        assert said == set(self.durable)
        lowest_open = min((p for p in self.visible if p not in said), default=self.end)
        below = [p for p in self.visible if p < lowest_open]
        assert self.mark.position >= (below[-1] + 1 if below else 0)
        assert all(one[1] < other[0] for one, other in itertools.pairwise(spans))
        assert not spans or spans[0][0] > self.mark.position
        assert marks.fits(self.mark.position, spans)

    def complete(self) -> None:
        """Nothing bad happens any more: everything ends."""
        self.abort(0)
        while self.at < self.end or self.running or self.tracker.finished:
            self.read(4)
            self.pass_on(3)
            for _ in range(len(self.running)):
                self.finish(0)
            self.commit(1)
        self.commit(1)


STEPS = ("read", "pass_on", "finish", "finish", "commit", "begin_commit", "succeed", "abort")


@given(seed=st.integers(0, 2**32), runs_bytes_max=st.sampled_from([4, 10, 3_008]))
def test_every_visible_position_is_finished_once_across_all_owners(
    seed: int, runs_bytes_max: int
) -> None:
    """Commits, aborts and take-overs in any order: the mark is what is durable, no more or less."""
    rng = random.Random(seed)
    visible = list(itertools.accumulate(rng.randrange(1, 5) for _ in range(rng.randrange(40))))
    end = (visible[-1] + 1 if visible else 0) + rng.randrange(4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(marks, "_RUNS_BYTES_MAX", runs_bytes_max)
        owners = Owners(visible, end)
        for _ in range(rng.randrange(300)):
            name = "take_over" if rng.random() < 0.03 else rng.choice(STEPS)
            getattr(owners, name)(rng.randrange(1_000))
        owners.complete()
    assert sorted(owners.durable) == visible
    assert owners.mark == Mark(end)
