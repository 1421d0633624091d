"""Marks survive being written and read; whatever else is in the metadata counts as none."""

from __future__ import annotations

import base64
import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from consumers import marks as module
from consumers.marks import MARK_BYTES_MAX, Interval, Mark, fits, merged

POSITIONS = st.integers(0, 2**63 - 1)


@st.composite
def apart(draw: st.DrawFn, start: int, *, max_size: int = 60) -> tuple[Interval, ...]:
    """Intervals beyond a position, in order, that do not touch."""
    at, found = start, []
    for gap, length in draw(
        st.lists(
            st.tuples(st.integers(1, 3_000), st.one_of(st.just(1), st.integers(1, 50_000))),
            max_size=max_size,
        )
    ):
        found.append((at + gap, at + gap + length))
        at += gap + length
    return tuple(found)


@st.composite
def any_marks(draw: st.DrawFn) -> Mark:
    position = draw(st.integers(0, 2**62))
    return Mark(
        position,
        draw(apart(position)),
        draw(st.booleans()),
        draw(st.integers(0, 1_000)),
        draw(st.none() | st.integers(position, 2**63 - 2)),
        draw(st.integers(0, 3)),
    )


@given(any_marks())
def test_a_mark_comes_back_as_it_was(mark: Mark) -> None:
    """Every field, under its own position."""
    assert Mark.decode(mark.position, mark.encode()) == mark


@given(st.integers(0, 2**62).flatmap(lambda at: st.tuples(st.just(at), apart(at, max_size=200))))
@example((0, tuple((3_000 * n + 1, 3_000 * n + 2) for n in range(900))))
@example((0, tuple((3_000 * n + 1, 3_000 * n + 2) for n in range(1_500))))
@example((2**62, tuple((2**62 + 2 * n + 1, 2**62 + 2 * n + 2) for n in range(1_504))))
@example((2**62, tuple((2**62 + 2 * n + 1, 2**62 + 2 * n + 2) for n in range(1_505))))
def test_h10_a_mark_has_at_most_4096_characters_or_is_refused(
    made: tuple[int, tuple[Interval, ...]],
) -> None:
    """`fits` says which before anybody tries; nothing longer ever reaches a transaction."""
    position, intervals = made
    # The largest numbers that the other fields can have.
    mark = Mark(position, intervals, clean=False, takeovers=2**63 - 1, suspect=2**63 - 2, starts=9)
    if fits(position, intervals):
        assert len(mark.encode()) <= MARK_BYTES_MAX
    else:
        with pytest.raises(ValueError, match=f"{len(intervals)} intervals"):
            mark.encode()


def test_h10_as_many_intervals_fit_as_records_are_in_flight_in_the_worst_likely_case() -> None:
    """Every other one of 3,000 records beyond the position is a mark that fits."""
    assert fits(0, [(2 * n + 1, 2 * n + 2) for n in range(1_500)])
    assert not fits(0, [(2 * n + 1, 2 * n + 2) for n in range(1_600)])


@given(any_marks(), POSITIONS)
def test_h10_a_mark_of_another_position_counts_as_none(mark: Mark, other: int) -> None:
    """Somebody moved the group's position: what was finished beyond the old one says nothing."""
    if other != mark.position:
        assert Mark.decode(other, mark.encode()) == Mark(other)


@given(POSITIONS, st.text() | st.binary().map(lambda raw: base64.b64encode(raw).decode()))
@example(7, "")
@example(7, "a note that a person left")
@example(7, base64.b64encode(b"\x01").decode())
def test_h10_garbage_counts_as_none(position: int, text: str) -> None:
    """Nothing is raised, and what comes out can be written again."""
    mark = Mark.decode(position, text)
    if mark != Mark(position):
        assert mark.encode() == text


@given(any_marks(), st.integers(0, 255), st.integers(0, 4_000))
def test_h10_a_damaged_mark_is_one_that_we_could_have_written_or_none(
    mark: Mark, byte: int, at: int
) -> None:
    """Never one that the next commit could not carry on."""
    body = bytearray(base64.b64decode(mark.encode()))
    body[at % len(body)] = byte
    found = Mark.decode(mark.position, base64.b64encode(body).decode())
    assert found.position == mark.position
    assert len(found.encode()) <= MARK_BYTES_MAX
    assert fits(found.position, found.finished)


@given(any_marks(), st.integers(2, 255))
def test_h10_a_mark_of_another_version_counts_as_none(mark: Mark, version: int) -> None:
    """A later format is not guessed at."""
    body = bytearray(base64.b64decode(mark.encode()))
    body[0] = version
    found = Mark.decode(mark.position, base64.b64encode(body).decode())
    assert found == Mark(mark.position)


@pytest.mark.parametrize("field", [3, 4, 5])
def test_h10_numbers_that_nobody_wrote_are_not_carried_on(field: int) -> None:
    """A takeover count of 3,000 bytes would abort every commit from now on."""
    numbers = [b"\0", b"\7", b"\0", b"\0", b"\0"]
    numbers[field - 1] = b"\xff" * 3_000 + b"\1"
    text = base64.b64encode(bytes([module.VERSION]) + b"".join(numbers)).decode()
    assert Mark.decode(7, text) == Mark(7)


def test_h10_runs_that_only_just_fitted_elsewhere_are_not_carried_on() -> None:
    """A mark with more intervals than ours may have could never be selected from."""
    body = Mark(7).encode()
    runs = b"\1\1" * 1_520
    text = base64.b64encode(base64.b64decode(body) + runs).decode()
    assert len(text) <= MARK_BYTES_MAX
    assert Mark.decode(7, text) == Mark(7)


def test_a_group_without_a_mark_was_given_up_in_order() -> None:
    """Nobody died: there is nothing to count."""
    assert Mark.decode(3, "") == Mark(3, (), clean=True, takeovers=0, suspect=None, starts=0)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 6))))
def test_merged_intervals_cover_the_same_positions_and_do_not_touch(
    made: list[tuple[int, int]],
) -> None:
    """Those that touch or overlap become one."""
    intervals = sorted((start, start + length) for start, length in made)
    found = merged(intervals)
    covered = {p for start, stop in intervals for p in range(start, stop)}
    assert [p for start, stop in found for p in range(start, stop)] == sorted(covered)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(found))
