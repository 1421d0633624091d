"""Digests: canonical whatever the order, distinct whatever looks alike."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.digest import NotDigestible, canonical, digest

PINNED = "sha256:9c69d5518282692e16c061d49ad471b0c8934a0d5cecec5d1fc896ea5373cfaf"

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.binary(),
)
STATES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


def shuffled(state: Any, rng: random.Random) -> Any:
    """The same state with every map built in another order."""
    if isinstance(state, dict):
        entries = [(key, shuffled(item, rng)) for key, item in state.items()]
        rng.shuffle(entries)
        return dict(entries)
    return [shuffled(item, rng) for item in state] if isinstance(state, list) else state


@given(STATES, st.randoms(use_true_random=False))
def test_insertion_order_never_matters(state: Any, rng: random.Random) -> None:
    """Two equal states have one digest, however their maps were filled."""
    assert digest(shuffled(state, rng)) == digest(state)


@given(st.sets(st.one_of(st.integers(), st.text(), st.binary())))
def test_sets_are_sorted_by_encoding(members: set[Any]) -> None:
    """A set's digest depends on its members alone."""
    assert digest(members) == digest(frozenset(sorted(members, key=repr, reverse=True)))


@given(STATES)
def test_encoding_is_cbor(state: Any) -> None:
    """Any CBOR decoder reads the canonical form back to the same value."""
    assert cbor2.loads(canonical(state)) == state


@given(STATES)
def test_a_state_survives_storage_with_its_digest(state: Any) -> None:
    """A state written to a store as plain CBOR and read back has the same digest."""
    assert digest(cbor2.loads(cbor2.dumps(state))) == digest(state)


@given(st.dictionaries(st.text(), SCALARS))
def test_maps_with_text_keys_equal_cbor2_canonical(state: dict[str, Any]) -> None:
    """Where both ordering rules agree, our bytes are cbor2's canonical bytes."""
    plain = {
        key: 0.0 if item == 0 and isinstance(item, float) else item for key, item in state.items()
    }
    assert canonical(state) == cbor2.dumps(plain, canonical=True)


def test_keys_sort_bytewise_as_rfc_8949_says() -> None:
    """RFC 8949 section 4.2.1's own example: 10, 100, −1, "z", "aa", [100], [−1], false."""
    keys: list[Any] = [False, (-1,), (100,), "aa", "z", -1, 100, 10]
    assert canonical(dict.fromkeys(keys, 0)).hex() == (
        "a80a001864002000617a006261610081186400812000f400"
    )


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (1, 1.0),
        (1, True),
        (0, False),
        (0, None),
        ("1", 1),
        (b"a", "a"),
        ([], {}),
        ("", b""),
        ([1], {1}),
        (Decimal(1), 1),
        (Decimal(1), 1.0),
        ({}, set()),
        ([[]], []),
        (datetime(2020, 1, 1, tzinfo=UTC), 1577836800),
    ],
)
def test_types_are_told_apart(left: Any, right: Any) -> None:
    """What Python may call equal is not the same state."""
    assert digest(left) != digest(right)
    assert digest({"k": left}) != digest({"k": right})


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (-0.0, 0.0),
        ((1, 2), [1, 2]),
        (Decimal("1.0"), Decimal("1.00")),
        (Decimal("-0"), Decimal(0)),
        (Decimal("1E+2"), Decimal(100)),
        (Colour.RED, "red"),
        (frozenset({1}), {1}),
        (
            datetime(2020, 1, 1, tzinfo=UTC),
            datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        ),
    ],
)
def test_equal_values_have_one_digest(left: Any, right: Any) -> None:
    """Values that a store or another writer may spell differently hash alike."""
    assert digest(left) == digest(right)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_shorten_without_loss(value: float) -> None:
    """A float takes the shortest form that keeps it exactly."""
    assert cbor2.loads(canonical(value)) == value
    assert len(canonical(value)) in (3, 5, 9)


@pytest.mark.parametrize(
    ("state", "path"),
    [
        ({"agents": {"a-1": [0, {"seen": object()}]}}, "agents['a-1'][1].seen"),
        (math.nan, "state"),
        ({"mean": [math.inf]}, "mean[0]"),
        ({"sum": Decimal("NaN")}, "sum"),
        ({"at": datetime(2020, 1, 1)}, "at"),  # noqa: DTZ001
        ({"name": "\ud800"}, "name"),
        ({"members": {frozenset({1}), 1j}}, "members{…}"),
        ({3: ...}, "[3]"),
    ],
)
def test_what_has_no_canonical_form_is_named(state: Any, path: str) -> None:
    """The error says where in the state the value is."""
    with pytest.raises(NotDigestible) as caught:
        digest(state)
    assert caught.value.path == path


def test_the_digest_is_pinned() -> None:
    """A change of the canonical form cannot go unnoticed: stored snapshots depend on it."""
    state = {"counts": {"b": 2, "a": 1}, "last": ["x", 1.5, None], "seen": {3, 1}, "raw": b"\x00"}
    assert digest(state) == PINNED
