"""H11: a record that kills its process is found, and is not run for ever."""

from __future__ import annotations

import pytest

from consumers.marks import Mark
from consumers.worker.assignment import STARTS_MAX, TAKEOVERS_MAX
from streams.record import Partition
from tests.consumers.worker.test_core import OTHER, SOURCE, Fixture, record

DEAD = Mark(0, clean=False)
THIRD = Partition("ns.tasks", 2)
SUSPICIOUS = Mark(0, clean=False, takeovers=TAKEOVERS_MAX - 1)


def suspicious(running_max: int = 100, count: int = 3) -> Fixture:
    """A careful partition with some records, whose opening is committed."""
    box = Fixture(running_max)
    box.assign(1, mark=SUSPICIOUS)
    box.deliver(1, *(record(n, b"k%d" % n) for n in range(count)))
    return box


def two_suspicious() -> Fixture:
    """Two careful partitions, both open."""
    box = Fixture()
    box.assign(1, mark=SUSPICIOUS, opened=False)
    box.assign(2, OTHER, mark=SUSPICIOUS)
    return box


def test_h11_each_owner_that_takes_over_from_a_dead_one_counts_it_before_it_dispatches() -> None:
    """Three in a row that moved nothing make the partition careful; one in order does not count."""
    box = Fixture()
    box.assign(1)
    for takeovers in (1, 2):
        box = box.die()
        box.assign(1)
        box.deliver(1, record(0, b"a"), record(1, b"b"))
        assert box.log[SOURCE] == Mark(0, clean=False, takeovers=takeovers)
        assert (box.take(), box.take()) == (0, 1)  # not careful yet
    box = box.die()
    box.assign(1)
    box.deliver(1, record(0, b"a"), record(1, b"b"))
    assert box.log[SOURCE].takeovers == TAKEOVERS_MAX
    assert box.take() is None


def test_h11_takeovers_are_forgotten_when_all_that_was_in_flight_is_committed() -> None:
    """As many records as the dead owner could hold have not killed this one."""
    box = Fixture(in_flight_max=3)
    box.assign(1, mark=Mark(0, clean=False, takeovers=1))
    box.deliver(1, *(record(n, b"k%d" % n) for n in range(5)))
    first, second = box.start(), box.start()
    box.finish(second)
    assert box.commit()[SOURCE].takeovers == 2
    box.finish(first)
    assert box.commit()[SOURCE].takeovers == 2
    box.finish(box.start())
    box.commit()
    box.run()
    assert box.commit()[SOURCE].takeovers == 0


def test_h11_a_wary_partition_runs_in_rounds_with_a_commit_between() -> None:
    """However fast handlers are: what a death undoes is no more than may run at once."""
    box = Fixture(running_max=2)
    box.assign(1, mark=Mark(0, clean=False, takeovers=1))
    box.deliver(1, *(record(n, b"k%d" % n) for n in range(5)))
    assert box.run() == [0, 1]
    box.commit()
    assert box.run() == [2, 3]
    box.core.aborted(box.core.next_commit())
    assert box.run() == []
    box.commit()
    assert box.run() == [4]


def test_h11_after_a_first_death_each_round_is_twice_the_last() -> None:
    """Hardly any death is a record's doing, and a backlog must not wait for a commit per few."""
    box = Fixture(running_max=2)
    box.assign(1, mark=Mark(0, clean=False))
    box.deliver(1, *(record(n, b"k%d" % n) for n in range(20)))
    rounds = []
    while done := box.run():
        rounds.append(len(done))
        box.commit()
    assert rounds == [2, 4, 8, 6]


def test_h11_a_wary_partition_is_read_on_when_it_has_run_what_it_holds() -> None:
    """Else its backlog would fill the window, and other partitions would wait for its rounds."""
    box = Fixture(running_max=2, in_flight_max=40)
    box.assign(1, mark=Mark(0, clean=False, takeovers=1))
    box.assign(2, OTHER)
    box.deliver(1, *(record(n, b"k%d" % n) for n in range(12)))
    box.deliver(2, *(record(n, b"k%d" % n, OTHER) for n in range(12)))
    assert box.core.held() == set()
    box.deliver(1, record(12, b"k12"))
    assert box.core.held() == {SOURCE}
    while box.core.held():
        held = sum(len(one.backlog) for one in box.core.assignments)
        box.run()
        box.commit()
    assert held == 7
    box.run()
    box.commit()
    assert box.log[OTHER].position == 12


def test_h11_a_wary_partition_that_has_no_more_is_as_ever() -> None:
    """Whatever was in flight when its last owner died is finished."""
    box = Fixture(running_max=2)
    box.assign(1, mark=Mark(0, clean=False))
    box.core.read_to(1, 1)  # before anything came, this says nothing
    box.deliver(1, record(1))
    box.run()
    assert box.commit()[SOURCE].takeovers == 1
    box.core.read_to(1, 3)
    box.deliver(1, *(record(n, b"k%d" % n) for n in range(3, 8)))
    assert box.run() == [3, 4, 5, 6, 7]
    assert box.commit()[SOURCE].takeovers == 0


def test_h11_a_suspect_runs_alone_with_its_start_committed() -> None:
    """In order, whatever the keys: its start, then it, then the next one's start."""
    box = suspicious()
    for position in range(3):
        assert box.take() is None
        assert box.core.mark_due
        mark = box.commit()[SOURCE]
        assert (mark.suspect, mark.starts) == (position, 1)
        suspect = box.start()
        assert (suspect.record.position, suspect.alone, suspect.crashed) == (position, True, False)
        assert (box.take(), box.core.running()) == (None, 1)
        box.finish(suspect)
    assert box.take() is None
    assert box.commit() == {SOURCE: Mark(3, clean=False, takeovers=TAKEOVERS_MAX)}
    assert (box.window.count, box.window.size) == (0, 0)


def test_h11_a_start_that_did_not_commit_is_no_start() -> None:
    """After an abort it is committed again before the record runs."""
    box = suspicious()
    assert box.take() is None
    parts = box.core.next_commit()
    assert box.take() is None
    box.core.aborted(parts)
    assert box.take() is None
    box.commit()
    assert box.take() == 0


def test_h11_nothing_else_runs_beside_a_suspect() -> None:
    """Others finish first, and wait until it has ended; they need not wait for its partition."""
    box = Fixture()
    box.assign(2, OTHER)
    box.deliver(2, record(0, b"a", OTHER), record(1, b"b", OTHER), record(2, b"a", OTHER))
    first = box.start()
    box.assign(1, mark=SUSPICIOUS, opened=False)
    box.deliver(1, record(0))
    second = box.start()  # a partition that is not open suspects nobody
    box.commit()
    assert box.take() is None
    box.finish(first)
    assert box.take() is None
    box.finish(second)
    assert box.take() is None
    box.commit()
    suspect = box.start()
    assert (suspect.alone, box.take()) == (True, None)
    box.finish(suspect)
    assert (box.take(), box.core.mark_due) == (None, True)  # the log does not know of its end
    box.commit()
    assert box.start().assignment.source == OTHER


def test_h11_a_suspect_that_outlives_its_assignment_still_has_no_company() -> None:
    """Its partition was lost, it runs on: its key, and all others, wait for its end."""
    box = suspicious(count=1)
    box.assign(2, OTHER)
    box.take()
    box.commit()
    suspect = box.start()
    box.core.give_up([SOURCE])
    box.assign(3, mark=Mark(0))
    box.deliver(3, record(0, b"k0"))
    box.deliver(2, record(0, b"o", OTHER))
    assert box.take() is None
    box.finish(suspect)
    assert sorted(box.run()) == [0, 0]


def test_h11_two_starts_without_an_end_and_a_record_has_crashed() -> None:
    """It is not started a third time, and what comes after it is suspected in turn."""
    box = Fixture()
    box.log[SOURCE] = SUSPICIOUS
    for starts in range(1, STARTS_MAX + 1):
        box = box.die()
        box.assign(1)
        box.deliver(1, record(0, b"a"), record(1, b"b"))
        assert box.take() is None
        box.commit()
        assert (box.log[SOURCE].suspect, box.log[SOURCE].starts) == (0, starts)
        assert not box.start().crashed
    box = box.die()
    box.assign(1)
    box.deliver(1, record(0, b"a"), record(1, b"b"))
    crashed = box.start()  # its end needs no start to be committed
    assert (crashed.record.position, crashed.crashed, crashed.odd) == (0, True, True)
    box.finish(crashed)
    assert box.take() is None
    box.commit()
    assert (box.log[SOURCE].position, box.log[SOURCE].suspect, box.log[SOURCE].starts) == (1, 1, 1)
    assert not box.start().crashed


def test_h11_one_death_while_a_record_ran_alone_is_enough_to_be_careful() -> None:
    """The count of owners may say less: it was the suspect, or its neighbour."""
    box = Fixture()
    box.assign(1, mark=Mark(4, clean=False, suspect=7, starts=1))
    box.deliver(1, record(4), record(7))
    assert box.take() is None
    box.commit()
    assert (box.log[SOURCE].suspect, box.log[SOURCE].starts) == (4, 1)


def test_h11_a_suspect_whose_handler_fails_has_not_crashed() -> None:
    """A failure is an end: each further attempt counts as a first start."""
    box = suspicious(count=2)
    box.assign(2, OTHER)
    box.take()
    box.commit()
    suspect = box.start()
    for n in range(2 * STARTS_MAX):
        box.core.parked(suspect)
        box.deliver(2, record(n, b"o", OTHER))
        assert (box.take(), box.core.mark_due) == (None, True)
        assert box.commit()[SOURCE].suspect is None
        other = box.start()
        assert other.assignment.source == OTHER  # others go on
        assert box.take() is None  # its own partition does not
        assert box.core.due(suspect)
        assert (box.take(), box.core.mark_due) == (None, False)  # not beside others
        box.finish(other)
        assert (box.take(), box.core.mark_due) == (None, True)
        box.commit()
        assert (box.log[SOURCE].suspect, box.log[SOURCE].starts) == (0, 1)
        assert box.start() is suspect
        assert not suspect.crashed


def test_h11_careful_mode_ends_after_as_many_records_as_may_have_been_in_flight() -> None:
    """So many ran side by side when owners died; the others follow in rounds."""
    box = suspicious(running_max=2, count=5)
    for position in range(2):
        assert box.take() is None
        box.commit()
        suspect = box.start()
        assert suspect.record.position == position
        box.finish(suspect)
    assert (box.take(), box.core.mark_due) == (None, True)
    assert box.commit()[SOURCE].takeovers == TAKEOVERS_MAX
    third = box.start()
    assert (third.record.position, third.alone, box.take(), box.core.mark_due) == (
        2,
        False,
        3,
        False,
    )
    box.finish(third)
    box.commit()
    assert box.run() == [4]


def test_h11_careful_mode_ends_where_the_partition_has_no_more() -> None:
    """What killed was on the log already. A position told before anything came says nothing."""
    box = Fixture()
    box.assign(1, mark=SUSPICIOUS)
    box.core.read_to(1, 0)
    box.deliver(1, record(0, b"a"))
    box.core.read_to(1, 1)
    assert box.take() is None
    box.commit()
    suspect = box.start()
    assert suspect.alone
    box.finish(suspect)
    box.core.read_to(1, 1)
    box.deliver(1, record(1, b"a"), record(2, b"b"))
    assert (box.take(), box.core.mark_due) == (None, True)
    box.commit()
    assert (box.take(), box.take()) == (1, 2)


def test_h11_the_last_suspects_end_is_committed_before_the_next_record_runs() -> None:
    """Else that one may kill, and the next owner would count another start without an end.

    Found by the simulation (seed 139): whoever stood before what kills was `crashed` as well.
    """
    box = suspicious(running_max=1, count=3)
    box.take()
    box.commit()
    box.finish(box.start())
    box.deliver(1, record(3))
    assert (box.take(), box.core.mark_due) == (None, True)
    parts = box.core.next_commit()
    box.core.aborted(parts)
    assert box.take() is None
    mark = box.commit()[SOURCE]
    assert (mark.position, mark.suspect, mark.starts) == (1, None, 0)
    assert box.start().record.position == 1


def test_h11_a_careful_partition_that_is_left_in_order_leaves_no_suspect() -> None:
    """It was stopped between the start and the run of one, or while it ran."""
    for runs in (False, True):
        box = suspicious()
        assert box.take() is None
        box.commit()
        if runs:
            suspect = box.start()
        box.core.stop([SOURCE])
        assert (box.take(), box.core.mark_due) == (None, False)
        if runs:
            box.finish(suspect)
        box.core.leave([SOURCE])
        mark = box.commit()[SOURCE]
        assert (mark.clean, mark.suspect, mark.starts) == (True, None, 0)
        box.core.give_up([SOURCE])
        assert (box.window.count, box.window.size) == (0, 0)


@pytest.mark.parametrize("unknown", ["a start that happened", "a start that did not", "an end"])
def test_h07_an_unknown_outcome_is_nobodys_death(unknown: str) -> None:
    """The partition is reloaded by who had it: neither owners nor starts are counted for that."""
    box = Fixture()
    box.log[SOURCE] = SUSPICIOUS
    for token in range(1, 3 * STARTS_MAX):
        box.assign(token)
        assert box.log[SOURCE].takeovers == TAKEOVERS_MAX
        box.deliver(token, record(0))
        assert box.take() is None
        parts = box.core.next_commit()
        if unknown == "an end":
            box.core.committed(parts)
            box.log |= {part.commit.source: part.mark for part in parts}
            suspect = box.start()
            assert not suspect.crashed
            box.finish(suspect)
            parts = box.core.next_commit()
        elif unknown == "a start that happened":
            box.log |= {part.commit.source: part.mark for part in parts}
        assert box.core.unknown(parts) == [SOURCE]
    assert box.window.count == 0


def test_h07_a_partition_that_was_another_owners_meanwhile_is_taken_over() -> None:
    """It was lost before its reload came through: what the mark says counts in full."""
    box = Fixture()
    box.assign(1)
    box.deliver(1, record(0))
    box.run()
    box.core.unknown(box.core.next_commit())
    box.core.give_up([SOURCE])
    box.assign(2, mark=DEAD)
    assert box.log[SOURCE].takeovers == 1


def test_h11_a_suspect_whose_start_is_committed_runs_before_any_other() -> None:
    """Another partition's records may come later and stand first: if one of them killed, the log
    would blame the suspect for a start that it never had.
    """
    box = two_suspicious()
    box.deliver(2, record(7, b"b", OTHER))
    assert box.take() is None
    assert box.commit()[OTHER].suspect == 7
    box.deliver(1, record(0, b"a"))
    assert box.take() == 7


def test_h11_no_other_partition_runs_before_the_log_has_a_suspects_end() -> None:
    """Neither one that is careful as well, nor one that is not: if its record killed, the log
    would blame one that had ended long ago, and its partition may be read to its end.
    """
    box = two_suspicious()
    box.assign(3, THIRD)
    box.deliver(1, record(0, b"a"))
    box.take()
    box.commit()
    suspect = box.start()
    box.deliver(2, record(7, b"b", OTHER))
    box.deliver(3, record(9, b"c", THIRD))
    box.finish(suspect)
    box.core.read_to(1, 1)  # it has no more, and is careful no longer
    for _ in range(2):
        assert (box.take(), box.core.mark_due) == (None, True)
        parts = box.core.next_commit()
        assert all(part.mark.suspect is None for part in parts)  # no start, but for that
        box.core.aborted(parts)
    box.commit()
    assert box.take() is None
    assert box.commit()[OTHER].suspect == 7
    assert box.take() == 7


def test_h11_a_failed_suspects_end_is_on_the_log_before_other_partitions_run() -> None:
    """It waits for its next attempt; what runs meanwhile may kill."""
    box = two_suspicious()
    box.deliver(1, record(0, b"a"))
    box.take()
    box.commit()
    suspect = box.start()
    box.core.parked(suspect)
    box.deliver(2, record(7, b"b", OTHER))
    assert box.take() is None
    assert box.commit()[SOURCE] == Mark(0, clean=False, takeovers=TAKEOVERS_MAX)
    assert box.take() is None
    assert box.commit()[OTHER].suspect == 7
    other = box.start()
    assert box.core.due(suspect)
    box.finish(other)
    assert box.take() is None
    assert SOURCE not in box.commit()  # first the end of the other
    assert box.take() is None
    assert box.commit()[SOURCE].suspect == 0
    assert box.start() is suspect


def test_h11_a_failed_suspect_that_is_due_at_once_needs_no_commit_between() -> None:
    """Its end and its next start are one thing to say."""
    box = suspicious(count=1)
    box.take()
    box.commit()
    suspect = box.start()
    box.core.parked(suspect)
    assert box.core.due(suspect)
    assert box.take() is None
    assert (box.commit()[SOURCE].starts, box.take()) == (1, 0)


def test_h11_a_start_of_which_nobody_knows_keeps_others_back_until_its_partition_is_back() -> None:
    """The log may say that it was started; the partition's opening says that it was not (H7)."""
    for lost in (False, True):
        box = two_suspicious()
        box.deliver(1, record(0, b"a"))
        box.take()
        box.core.unknown(box.core.next_commit())
        box.deliver(2, record(7, b"b", OTHER))
        assert box.take() is None
        assert not box.core.settled_of([OTHER])
        if lost:
            box.core.give_up([SOURCE])  # it is another's, who knows nothing of ours
        else:
            box.assign(3, mark=Mark(0, clean=False, takeovers=TAKEOVERS_MAX, suspect=0, starts=1))
            assert (box.log[SOURCE].suspect, box.log[SOURCE].starts) == (None, 0)
        assert box.take() is None
        assert box.commit()[OTHER].suspect == 7
        assert box.take() == 7


def test_h11_a_partition_that_is_given_up_between_start_and_run_keeps_nobody_back() -> None:
    """In order its last commit says the end, before anything else runs; else it is another's."""
    for in_order in (True, False):
        box = two_suspicious()
        box.deliver(1, record(0, b"a"))
        box.take()
        box.commit()
        box.deliver(2, record(7, b"b", OTHER))
        if in_order:
            box.core.stop([SOURCE])
            assert box.take() is None
            box.core.leave([SOURCE])
            assert box.commit()[SOURCE] == Mark(0, clean=True, takeovers=TAKEOVERS_MAX)
        box.core.give_up([SOURCE])
        assert box.take() is None
        assert box.commit()[OTHER].suspect == 7
        assert box.take() == 7


@pytest.mark.parametrize("left", ["before its start", "before its run", "while it ran"])
def test_h11_a_handover_in_order_forgets_no_death(left: str) -> None:
    """Whoever replaces a dead process joins, and partitions move: what kills would begin anew each
    time. A start that is given up is none; that of an owner which died of it still counts.

    Found by the simulation (seed 1007211): one record killed eleven times.
    """
    died_once = Mark(0, clean=False, takeovers=TAKEOVERS_MAX, suspect=0, starts=1)
    box = Fixture()
    box.assign(1, mark=died_once)
    box.deliver(1, record(0, b"a"), record(1, b"b"))
    if left != "before its start":
        box.take()
        assert box.commit()[SOURCE].starts == 2
    if left == "while it ran":
        suspect = box.start()
    box.core.stop([SOURCE])
    if left == "while it ran":
        box.core.finished(suspect, None)
    box.core.leave([SOURCE])
    mark = box.commit()[SOURCE]
    assert (mark.clean, mark.suspect, mark.starts) == (True, 0, 1)
    box.core.give_up([SOURCE])
    box.assign(2)
    box.deliver(2, record(0, b"a"))
    box.take()
    assert box.commit()[SOURCE].starts == 2
    assert not box.start().crashed


def test_h11_a_suspect_that_has_ended_is_cleared_of_all_deaths() -> None:
    """Even if nobody knows whether its end was committed, and its partition is reloaded."""
    box = Fixture()
    box.assign(1, mark=Mark(0, clean=False, suspect=0, starts=1))
    box.deliver(1, record(0, b"a"))
    box.take()
    box.commit()
    box.finish(box.start())
    box.core.unknown(box.core.next_commit())
    box.assign(2, mark=Mark(0, clean=False, suspect=0, starts=2))
    assert (box.log[SOURCE].suspect, box.log[SOURCE].starts) == (None, 0)


def test_h11_a_record_that_fails_and_kills_at_a_later_attempt_is_found() -> None:
    """Attempts begin anew with each owner: if a failure cleared it, it would kill for ever."""
    box = Fixture()
    box.log[SOURCE] = SUSPICIOUS
    for starts in range(1, STARTS_MAX + 1):
        box = box.die()
        box.assign(1)
        box.deliver(1, record(0, b"a"))
        box.take()
        box.commit()
        suspect = box.start()
        box.core.parked(suspect)
        assert box.take() is None
        assert box.commit()[SOURCE].starts == starts - 1
        assert box.core.due(suspect)
        assert box.take() is None
        assert box.commit()[SOURCE].starts == starts
        assert box.start() is suspect
        assert not suspect.crashed
    box = box.die()
    box.assign(1)
    box.deliver(1, record(0, b"a"))
    assert box.start().crashed


def test_h11_deaths_of_a_record_that_has_gone_are_forgotten() -> None:
    """Retention deleted it: nobody else is suspected for it, at no handover after that."""
    box = Fixture(running_max=1)
    box.assign(1, mark=Mark(0, clean=False, suspect=0, starts=1))
    box.deliver(1, record(10, b"a"), record(11, b"b"))
    box.take()
    assert (box.commit()[SOURCE].suspect, box.log[SOURCE].starts) == (10, 1)
    box.core.stop([SOURCE])
    box.core.leave([SOURCE])
    assert box.commit()[SOURCE] == Mark(0, takeovers=1)


def test_h11_the_end_of_another_record_clears_nobody() -> None:
    """It ends after its partition was left, which says again who was suspected before."""
    box = Fixture()
    box.assign(1, mark=Mark(0, clean=False, suspect=5, starts=1))
    box.deliver(1, record(3), record(5))
    box.take()
    box.commit()
    suspect = box.start()
    assert suspect.record.position == 3
    box.core.stop([SOURCE])
    box.core.leave([SOURCE])
    box.finish(suspect)
    mark = box.commit()[SOURCE]
    assert (mark.clean, mark.suspect, mark.starts) == (True, 5, 1)


def test_h11_a_reload_that_is_given_up_before_it_is_open_leaves_no_start_of_ours() -> None:
    """The log calls us its owner, and may have a start: that is not another owner's death (H7)."""
    box = suspicious(count=1)
    box.take()
    parts = box.core.next_commit()
    box.log |= {part.commit.source: part.mark for part in parts}  # it happened
    assert box.log[SOURCE].suspect == 0
    box.core.unknown(parts)
    box.assign(2, opened=False)
    box.core.stop([SOURCE])
    box.core.leave([SOURCE])
    assert box.commit()[SOURCE] == Mark(0, clean=True, takeovers=TAKEOVERS_MAX)
