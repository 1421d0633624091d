"""A cut is the address of a moment, and is refused where it does not belong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cuts import Cut
from streams.errors import ConfigurationError, LogError
from streams.record import Partition

names = st.from_regex(r"[a-z][a-z0-9.]{0,8}", fullmatch=True)


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    topics = draw(st.dictionaries(names, st.text(max_size=22), max_size=4))
    ends = {
        Partition(topic, index): draw(st.integers(0, 2**62))
        for topic in topics
        for index in range(draw(st.integers(1, 3)))
    }
    return Cut(cluster_id=draw(st.text(max_size=22)), topic_ids=topics, ends=ends)


@given(cut=cuts())
def test_a_cut_survives_the_command_line(cut: Cut) -> None:
    """Text and back is the same cut, and the same cut is always the same text."""
    text = cut.encode()
    assert text.startswith("cut1:")
    assert Cut.decode(text) == cut
    assert Cut.decode(text).encode() == text


@given(text=st.text())
def test_anything_else_is_one_clear_error(text: str) -> None:
    """Text that no cut wrote is refused by name, whatever it is."""
    with pytest.raises(ConfigurationError, match="not a cut"):
        Cut.decode(text.removeprefix("cut1:"))
    with pytest.raises(ConfigurationError, match="not a cut"):
        Cut.decode(f"cut1:{text}")


def test_a_cut_below_the_beginning_is_none() -> None:
    """Nothing ends before position 0."""
    with pytest.raises(ConfigurationError, match="a position below 0"):
        Cut.decode(moment(ends={Partition("t", 0): -1}).encode())


def moment(**changes: object) -> Cut:
    fields: dict[str, object] = {
        "cluster_id": "c1",
        "topic_ids": {"t": "id1"},
        "ends": {Partition("t", 0): 10},
    }
    return Cut(**(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("now", "complaint"),
    [
        (moment(cluster_id="c2"), "is of cluster c1"),
        (moment(topic_ids={"t": "id2"}), "made anew"),
        (moment(topic_ids={}, ends={}), "does not have"),
        (moment(ends={Partition("t", 0): 9}), "only reaches"),
    ],
)
def test_a_cut_of_another_log_is_refused(now: Cut, complaint: str) -> None:
    """Another cluster, a topic made anew, a shorter log: refused instead of misread."""
    with pytest.raises(LogError, match=complaint):
        moment().require_same_log(now)


def test_a_cut_fits_the_log_that_went_on() -> None:
    moment().require_same_log(moment(ends={Partition("t", 0): 11, Partition("t", 1): 3}))
