"""The contiguous finished prefix, whatever finishes when and wherever the log has holes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.worker.tracking import PartitionTracker


def test_the_prefix_stops_at_the_lowest_unfinished_position() -> None:
    """Results leave in position order, once the prefix passes them."""
    tracker: PartitionTracker[str] = PartitionTracker(10)
    for position in (10, 11, 12):
        tracker.admit(position)
    tracker.finish(11, "b")
    assert (tracker.prefix, tracker.settled, tracker.finished_beyond()) == (10, 0, [11])
    tracker.finish(10, "a")
    assert (tracker.prefix, tracker.take_settled()) == (12, ["a", "b"])
    assert tracker.in_flight == 1
    tracker.finish(12, "c")
    assert (tracker.prefix, tracker.take_settled(), tracker.take_settled()) == (13, ["c"], [])


def test_invisible_positions_block_nothing() -> None:
    """Gaps between records (markers, aborted, compacted) are passed with what surrounds them."""
    tracker: PartitionTracker[int] = PartitionTracker(0)
    for position in (3, 7):
        tracker.admit(position)
    assert tracker.prefix == 3
    tracker.finish(3, 3)
    assert tracker.prefix == 7
    tracker.finish(7, 7)
    assert tracker.prefix == 8


def test_a_tail_of_markers_is_passed_with_the_consumers_position() -> None:
    """When all that was read is finished, the prefix is where the consumer reads next."""
    tracker: PartitionTracker[int] = PartitionTracker(0)
    tracker.admit(0)
    tracker.read_to(4)
    assert tracker.prefix == 0
    tracker.finish(0, 0)
    assert tracker.prefix == 4
    tracker.read_to(2)
    assert tracker.prefix == 4


def test_a_position_that_comes_twice_is_refused() -> None:
    """A source that goes back needs a new assignment, not this one."""
    tracker: PartitionTracker[int] = PartitionTracker(5)
    tracker.admit(5)
    with pytest.raises(ValueError, match="position 5"):
        tracker.admit(5)


@given(
    gaps=st.lists(st.integers(1, 4), max_size=40),
    order=st.randoms(use_true_random=False),
    tail=st.integers(0, 3),
)
def test_every_result_leaves_once_in_order_and_the_prefix_is_exact(
    gaps: list[int], order: object, tail: int
) -> None:
    """After every step, prefix = lowest unfinished, and what left is exactly what is below it."""
    positions = [sum(gaps[: n + 1]) for n in range(len(gaps))]
    tracker: PartitionTracker[int] = PartitionTracker(0)
    for position in positions:
        tracker.admit(position)
    end = (positions[-1] + 1 if positions else 0) + tail
    tracker.read_to(end)
    finishing = list(positions)
    order.shuffle(finishing)  # type: ignore[attr-defined]
    unfinished = set(positions)
    left: list[int] = []
    for position in finishing:
        tracker.finish(position, position)
        unfinished.discard(position)
        left += tracker.take_settled()
        assert tracker.prefix == (min(unfinished) if unfinished else end)
        assert left == [p for p in positions if p < tracker.prefix]
        assert tracker.finished_beyond() == [
            p for p in positions if p > tracker.prefix and p not in unfinished
        ]
        assert tracker.in_flight == len(unfinished)
    assert left == positions
