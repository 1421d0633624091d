"""Stalls and rates from commits alone."""

from __future__ import annotations

from streams.record import Partition
from tests.faults.checkers import HANDLED, Commit
from tests.faults.timeline import figures, stalls

SOURCE = Partition("t", 0)
ARRIVALS = {SOURCE: [(position, 0) for position in range(100)]}


def commit(at_ms: int, start: int, end: int) -> Commit:
    return Commit(SOURCE, at_ms, "w", start, end, ((HANDLED, range(start, end)),))


def test_a_pause_with_work_waiting_is_a_stall() -> None:
    """From the last commit to the next; a short one is none."""
    commits = [commit(1000, 0, 10), commit(1500, 10, 20), commit(9500, 20, 100)]
    (found,) = stalls(commits, ARRIVALS)
    assert (found.from_ms, found.to_ms, found.seconds) == (1500, 9500, 8.0)


def test_a_pause_without_work_is_none() -> None:
    """Work that arrives late counts from its arrival."""
    arrivals = {SOURCE: [(0, 0), (1, 8000)]}
    commits = [commit(1000, 0, 1), commit(8200, 1, 2)]
    assert stalls(commits, arrivals) == []


def test_figures_of_a_fault() -> None:
    """Its longest stall; rates before, during and after it."""
    commits = [
        commit(1000, 0, 10),
        commit(2000, 10, 20),
        commit(7000, 20, 30),
        commit(8000, 30, 100),
    ]
    found = figures(commits, ARRIVALS, began_ms=3000, ended_ms=7500)
    assert (found.stall_s, found.stalled_partitions) == (4.0, 1)
    assert found.rate_before == 10.0
    assert found.rate_during == 10 / 4.5
    assert found.rate_after == 70 / 0.501


def test_a_fault_that_stalls_nothing_recovers_at_once() -> None:
    """Stalls from before it are not its own."""
    commits = [commit(1000, 0, 10), commit(5000, 10, 20), commit(5500, 20, 100)]
    found = figures(commits, ARRIVALS, began_ms=5200, ended_ms=5400)
    assert found.stall_s == 0.0


def arriving(count: int) -> dict[Partition, list[tuple[int, int]]]:
    """One record every 100 ms."""
    return {SOURCE: [(position, position * 100) for position in range(count)]}


def test_it_has_recovered_when_nothing_is_late_any_more() -> None:
    """A commit soon after its records is none of it, however much was waiting before."""
    commits = [
        commit(1000, 0, 10),  # appended from 0 on
        commit(5000, 10, 50),  # the oldest at 1000: late
        commit(6000, 50, 60),
    ]
    found = figures(commits, arriving(60), began_ms=1500, ended_ms=3000)
    assert (found.late_s, found.recover_s, found.late_before) == (2.0, 3.5, 0.0)
    assert figures(commits, arriving(60), began_ms=5500, ended_ms=5600).recover_s is None


def test_of_a_backlog_nobody_can_say_when_it_recovered() -> None:
    """All of it is late, and partitions wait for their turn."""
    commits = [commit(1000, 0, 10), commit(5000, 10, 60)]
    found = figures(commits, arriving(60), began_ms=1500, ended_ms=3000, backlog=True)
    assert (found.late_s, found.recover_s, found.stall_s) == (None, None, None)


def test_what_is_late_twice_over_counts_once_and_calm_between_counts_not() -> None:
    """The last time of it is when the group has recovered."""
    commits = [
        commit(1000, 0, 10),
        commit(5000, 10, 50),  # late from 3000 to 5000
        commit(6000, 50, 60),
        commit(10_000, 60, 100),  # late from 8000 to 10000
    ]
    found = figures(commits, arriving(100), began_ms=1500, ended_ms=3000)
    assert (found.late_s, found.recover_s) == (4.0, 8.5)
