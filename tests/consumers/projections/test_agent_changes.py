"""What a stretch of the log did to an agent, merged into what was before, is what is now."""

from __future__ import annotations

import functools
from typing import Any

import cbor2
from hypothesis import given
from hypothesis import strategies as st

from consumers.projections import AgentState, Filters
from consumers.projections.agent_changes import AgentChanges, Did, State
from consumers.projections.partition_fold import PartitionFold
from streams.record import Record
from tests.consumers.projections.strategies import CODEC, histories

AGENT = "agent-1"


def folded(projection: Any, partitions: list[list[Record]]) -> Any:
    parts = []
    for records in partitions:
        fold = PartitionFold(projection, CODEC, Filters(agent=AGENT))
        fold.add(records)
        parts.append(fold.finish()[0])
    return functools.reduce(projection.merge, parts, projection.initial())


@given(history=histories(), cut=st.integers(0, 12))
def test_before_and_changes_together_are_after(history: list[list[Record]], cut: int) -> None:
    """For the agent, whatever the stretch begins with; and it changed if a record did it."""
    states, changes = AgentState(), AgentChanges(AGENT, 100)
    before = folded(states, [records[:cut] for records in history])
    change: State = folded(changes, [records[cut:] for records in history])
    after = folded(states, history)
    was = states.view(before)["agents"].get(AGENT)
    now = states.view(states.merge(before, change["agents"]))["agents"].get(AGENT)
    assert now == states.view(after)["agents"].get(AGENT)
    assert (was != now) == (change["changed"] > 0)
    assert len(change["first"]) == change["changed"]


@given(history=histories(), records_max=st.integers(0, 6))
def test_the_first_are_kept_and_all_are_counted(
    history: list[list[Record]], records_max: int
) -> None:
    """In the order of append times, whatever is merged first; and CBOR keeps them."""
    for records in history:  # as brokers stamp them
        records.sort(key=lambda one: one.appended_at_ms)
    few, many = AgentChanges(AGENT, records_max), AgentChanges(AGENT, 1_000)
    bounded, all_of_them = folded(few, history), folded(many, history)
    assert folded(few, history[::-1]) == bounded
    assert bounded["changed"] == all_of_them["changed"] == len(all_of_them["first"])
    assert bounded["first"] == sorted(all_of_them["first"])[:records_max]
    assert cbor2.loads(cbor2.dumps(bounded)) == bounded
    view = few.view(bounded)
    assert all(isinstance(one, Did) for one in view["first"])
    assert view["changed"] == bounded["changed"]
