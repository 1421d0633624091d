"""What must hold for every projection: partitions may be folded apart and merged in any order."""

from __future__ import annotations

import copy
import functools
import random
from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.projections import AgentState, Metrics, Projection
from consumers.projections.partition_fold import PartitionFold
from examples.change_history import projection as change_history
from streams.digest import digest
from streams.record import Record
from tests.consumers.projections.strategies import CODEC, histories

PROJECTIONS: tuple[Projection[Any], ...] = (AgentState(), Metrics(), change_history)
each_projection = pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda it: it.name)


def fold(projection: Projection[Any], records: list[Record]) -> Any:
    partition = PartitionFold(projection, CODEC)
    partition.add(records)
    return partition.finish()[0]


def merged(projection: Projection[Any], *states: Any) -> Any:
    """Merge copies: `merge` may use up its arguments."""
    return functools.reduce(projection.merge, map(copy.deepcopy, states))


@each_projection
@given(history=histories())
def test_merge_is_associative_and_commutative(
    projection: Projection[Any], history: list[list[Record]]
) -> None:
    """(a · b) · c = a · (b · c), and a · b = b · a."""
    a, b, c = (fold(projection, records) for records in history)
    left = merged(projection, merged(projection, a, b), c)
    right = merged(projection, a, merged(projection, b, c))
    assert digest(left) == digest(right)
    assert digest(merged(projection, a, b)) == digest(merged(projection, b, a))


@each_projection
@given(history=histories(partitions=1))
def test_the_initial_state_is_neutral(
    projection: Projection[Any], history: list[list[Record]]
) -> None:
    """Merging the initial state changes nothing, from either side."""
    state = fold(projection, history[0])
    for other in (
        merged(projection, projection.initial(), state),
        merged(projection, state, projection.initial()),
    ):
        assert digest(other) == digest(state)


@each_projection
@given(history=histories(), rng=st.randoms(use_true_random=False))
def test_any_interleaving_of_partitions_gives_one_state(
    projection: Projection[Any], history: list[list[Record]], rng: random.Random
) -> None:
    """One fold over shuffled interleavings equals partitions folded apart and merged."""
    apart = merged(projection, *(fold(projection, records) for records in history))
    queues = [list(records) for records in history if records]
    interleaved = []
    while queues:
        queue = rng.choice(queues)
        interleaved.append(queue.pop(0))
        queues = [it for it in queues if it]
    assert digest(fold(projection, interleaved)) == digest(apart)


@each_projection
@given(history=histories(partitions=1), cut=st.integers(0, 12))
def test_a_fold_goes_on_from_a_stored_state(
    projection: Projection[Any], history: list[list[Record]], cut: int
) -> None:
    """Stored as CBOR in the middle and read back, a fold ends where an unbroken one does."""
    records = history[0]
    stored = cbor2.loads(cbor2.dumps(fold(projection, records[:cut])))
    resumed = PartitionFold(projection, CODEC, state=stored)
    resumed.add(records[cut:])
    assert digest(resumed.finish()[0]) == digest(fold(projection, records))


@each_projection
@given(history=histories(partitions=1))
def test_the_view_is_json(projection: Projection[Any], history: list[list[Record]]) -> None:
    """A view is made of what JSON has."""
    view = projection.view(fold(projection, history[0]))
    assert digest(view)
