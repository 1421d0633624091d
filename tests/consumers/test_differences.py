"""What differs between two states."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.differences import NOTHING, Difference, differences

STATES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [Difference("a", 1, 2)]),
        ({"a": 1}, {"a": 1.0}, [Difference("a", 1, 1.0)]),
        ({"a": {"b-c": 1}}, {"a": {}}, [Difference("a['b-c']", 1, NOTHING)]),
        ({}, {"x": [1]}, [Difference("x", NOTHING, [1])]),
        ({"x": [1]}, {"x": [1, 2]}, [Difference("x", [1], [1, 2])]),
        (1, 2, [Difference("", 1, 2)]),
    ],
)
def test_each_difference_has_its_path(before: Any, after: Any, found: list[Difference]) -> None:
    """And both values; what is missing is shown as such."""
    assert list(differences(before, after)) == found
    assert repr(NOTHING) == "–"


@given(STATES, STATES)
def test_states_without_a_difference_are_equal(one: Any, other: Any) -> None:
    """And a state never differs from itself."""
    assert list(differences(one, one)) == []
    if not list(differences(one, other)):
        assert one == other
