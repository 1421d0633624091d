"""What repeats within the window is known, and the window does not grow."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.worker.duplicates import RecentRecords, identity

ARRIVALS = st.lists(st.tuples(st.integers(1, 30), st.integers(0, 8)), max_size=120)


@given(span=st.integers(1, 40), arrivals=ARRIVALS)
def test_the_last_positions_are_remembered_and_little_more(
    span: int, arrivals: list[tuple[int, int]]
) -> None:
    """What came up to `span` positions ago repeats; what is a quarter and more beyond does not."""
    recent = RecentRecords(span)
    part = -(-span // 4)
    last: dict[int, int] = {}
    position = 0
    for step, name in arrivals:
        position += step
        seen = recent.seen(position, b"%d" % name)
        if name in last and position - last[name] <= span:
            assert seen
        if name not in last or position - last[name] >= 5 * part:
            assert not seen
        last[name] = position


@given(span=st.integers(1, 60), steps=st.lists(st.integers(1, 40), max_size=200))
def test_memory_is_bounded_by_the_span(span: int, steps: list[int]) -> None:
    """At most a quarter more than the span, rounded up, whatever the gaps in the log."""
    recent = RecentRecords(span)
    position = 0
    for n, step in enumerate(steps):
        position += step
        recent.seen(position, b"%d" % n)
        assert len(recent) <= 5 * -(-span // 4)


def test_a_repetition_is_remembered_from_where_it_was_last() -> None:
    """A sender that repeats itself for ever is heard once."""
    recent = RecentRecords(8)
    assert [recent.seen(position, b"again") for position in range(0, 80, 7)] == [
        False,
        *[True] * 11,
    ]


def test_a_span_of_zero_remembers_nothing() -> None:
    """Deduplication is off."""
    recent = RecentRecords(0)
    assert [recent.seen(position, b"same") for position in range(3)] == [False] * 3
    assert len(recent) == 0


def test_a_jump_in_the_log_forgets_what_lies_below_it() -> None:
    """Positions count, not records."""
    recent = RecentRecords(100)
    recent.seen(10, b"a")
    assert not recent.seen(1_000_000, b"a")
    assert recent.seen(1_000_001, b"a")


@given(st.lists(st.tuples(st.binary(min_size=1), st.binary(), st.binary()), unique=True))
def test_records_that_differ_have_other_identities(
    parts: list[tuple[bytes, bytes, bytes]],
) -> None:
    """Ids and redrives have no zero bytes; whatever a key holds, it is told apart."""
    clean = {
        (one.replace(b"\0", b"?"), key, redrive.replace(b"\0", b"?")) for one, key, redrive in parts
    }
    assert len({identity(*one) for one in clean}) == len(clean)


@pytest.mark.parametrize(("key", "redrive"), [(b"other", b""), (b"k", b"1")])
def test_another_recipient_and_a_redrive_are_no_repetition(key: bytes, redrive: bytes) -> None:
    """One envelope to several agents is on the inbox once for each; a redrive is wanted."""
    recent = RecentRecords(10)
    assert not recent.seen(1, identity(b"id", b"k", b""))
    assert not recent.seen(2, identity(b"id", key, redrive))
    assert recent.seen(3, identity(b"id", b"k", b""))


def test_h14_a_position_that_comes_again_is_remembered_as_if_it_came_once() -> None:
    """Found by the simulation (seed 5000690): it kept its record in the window for longer."""
    once, again = RecentRecords(4), RecentRecords(4)
    for position in range(12):
        assert not once.seen(position, b"%d" % position)
        assert not again.seen(position, b"%d" % position)
        for repeated in range(position + 1):
            assert not again.seen(repeated, b"%d" % repeated)
    assert [once.seen(12, b"0"), once.seen(13, b"11")] == [False, True]
    assert [again.seen(12, b"0"), again.seen(13, b"11")] == [False, True]
