"""Key lanes hold their rules under any interleaving."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.worker.lanes import KeyLanes, Ticket


def taken(lanes: KeyLanes[str]) -> list[str]:
    """Take and finish until nothing is left."""
    order = []
    while (ticket := lanes.take()) is not None:
        order.append(ticket.item)
        lanes.finish(ticket)
    return order


def test_one_key_runs_one_record_at_a_time_in_order() -> None:
    """A key is busy until its record finishes; then the next of the key runs."""
    lanes: KeyLanes[str] = KeyLanes(10)
    lanes.offer(b"k", 3, "first")
    lanes.offer(b"k", 5, "second")
    ticket = lanes.take()
    assert ticket is not None
    assert ticket.item == "first"
    assert lanes.take() is None
    lanes.finish(ticket)
    assert taken(lanes) == ["second"]


def test_keys_run_side_by_side_up_to_the_bound() -> None:
    """Different keys do not wait for each other, but no more than running_max run."""
    lanes: KeyLanes[str] = KeyLanes(2)
    for key in (b"a", b"b", b"c"):
        lanes.offer(key, 3, key.decode())
    first, second = lanes.take(), lanes.take()
    assert first is not None
    assert second is not None
    assert [first.item, second.item] == ["a", "b"]
    assert lanes.take() is None
    lanes.finish(first)
    assert taken(lanes) == ["c"]


def test_s3_05_higher_priority_first_fifo_within_a_priority() -> None:
    """Among ready keys the most urgent head goes first, ties by arrival."""
    lanes: KeyLanes[str] = KeyLanes(10)
    for number, priority in enumerate((3, 5, 1, 5, 3)):
        lanes.offer(f"k{number}", priority, f"{priority}:{number}")
    assert taken(lanes) == ["5:1", "5:3", "3:0", "3:4", "1:2"]


def test_an_urgent_record_waits_behind_its_own_key() -> None:
    """A key ranks by its head: urgency further back does not lift it."""
    lanes: KeyLanes[str] = KeyLanes(10)
    lanes.offer("slow", 1, "slow head")
    lanes.offer("slow", 5, "slow urgent")
    lanes.offer("other", 2, "other")
    assert taken(lanes) == ["other", "slow head", "slow urgent"]


def test_a_key_that_comes_back_ranks_by_the_arrival_of_its_next_record() -> None:
    """Finishing does not send a key to the end of the queue."""
    lanes: KeyLanes[str] = KeyLanes(10)
    lanes.offer("a", 3, "a1")
    lanes.offer("a", 3, "a2")
    lanes.offer("b", 3, "b1")
    assert taken(lanes) == ["a1", "a2", "b1"]


def test_records_without_a_key_are_unordered() -> None:
    """None is no key: such records run side by side."""
    lanes: KeyLanes[str] = KeyLanes(10)
    lanes.offer(None, 3, "x")
    lanes.offer(None, 3, "y")
    tickets = [lanes.take(), lanes.take()]
    assert [ticket.item for ticket in tickets if ticket] == ["x", "y"]


def test_discard_removes_what_waits_and_leaves_what_runs() -> None:
    """The lanes of a revoked partition empty; a running record still finishes."""
    lanes: KeyLanes[str] = KeyLanes(1)
    for item in ("p1", "p2", "q1", "p3"):
        lanes.offer(item[0], 3, item)
    running = lanes.take()
    assert running is not None
    assert running.item == "p1"
    assert lanes.discard(lambda item: item[0] == "p") == ["p2", "p3"]
    assert (lanes.waiting, lanes.running) == (1, 1)
    lanes.finish(running)
    lanes.offer("p", 3, "p4")
    assert taken(lanes) == ["q1", "p4"]


def test_running_max_must_let_something_run() -> None:
    """A bound of zero would wait for ever."""
    with pytest.raises(ValueError, match="at least one"):
        KeyLanes(0)


@given(
    arrivals=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), max_size=60),
    choices=st.lists(st.integers(0, 9), max_size=300),
    running_max=st.integers(1, 5),
)
def test_order_bound_and_completeness_hold_for_every_schedule(
    arrivals: list[tuple[int, int]], choices: list[int], running_max: int
) -> None:
    """Whatever finishes when: keys stay in order, one at a time, within the bound, none lost."""
    lanes: KeyLanes[tuple[int, int]] = KeyLanes(running_max)
    waiting = list(enumerate(arrivals))
    running: list[Ticket[tuple[int, int]]] = []
    started: list[tuple[int, int]] = []
    schedule = iter([*choices, *([0, 1, 5] * (len(arrivals) * 3))])
    for choice in schedule:
        if choice % 3 == 0 and waiting:
            number, (key, priority) = waiting.pop(0)
            lanes.offer(key, priority, (key, number))
        elif choice % 3 == 1 and (ticket := lanes.take()) is not None:
            assert ticket.item[0] not in {other.item[0] for other in running}
            running.append(ticket)
            started.append(ticket.item)
            assert len(running) <= running_max
        elif running:
            lanes.finish(running.pop(choice % len(running)))
    for ticket in running:
        lanes.finish(ticket)
    while waiting:
        number, (key, priority) = waiting.pop(0)
        lanes.offer(key, priority, (key, number))
    while (ticket := lanes.take()) is not None:
        started.append(ticket.item)
        lanes.finish(ticket)
    assert len(started) == len(arrivals)
    for key in range(5):
        numbers = [number for found, number in started if found == key]
        assert numbers == sorted(numbers)
    assert not lanes._lanes
    assert not lanes._ready


@given(
    arrivals=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5)), max_size=40),
    running=st.integers(0, 4),
    gone=st.sets(st.integers(0, 4)),
)
def test_after_discard_the_lanes_are_as_if_it_had_never_arrived(
    arrivals: list[tuple[int, int]], running: int, gone: set[int]
) -> None:
    """What remains keeps its order; nothing of the discarded keys is left behind."""
    lanes: KeyLanes[tuple[int, int]] = KeyLanes(5)
    for number, (key, priority) in enumerate(arrivals):
        lanes.offer(key, priority, (key, number))
    tickets = [ticket for _ in range(running) if (ticket := lanes.take()) is not None]
    removed = lanes.discard(lambda item: item[0] in gone)
    assert all(key in gone for key, _ in removed)
    for ticket in tickets:
        lanes.finish(ticket)
    rest = []
    while (left := lanes.take()) is not None:
        rest.append(left.item)
        lanes.finish(left)
    assert len(tickets) + len(removed) + len(rest) == len(arrivals)
    assert not [item for item in rest if item[0] in gone]
    assert not lanes._lanes
