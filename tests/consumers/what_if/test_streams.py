"""Two versions of an aggregate over one history: the first event that tells them apart."""

from __future__ import annotations

from typing import Any

import pytest

from consumers.aggregates import Aggregate, AggregateApp, Event
from consumers.aggregates.shared_state import shared_state
from consumers.aggregates.task_life import task_life
from consumers.testing import MemoryStage, virtual_time
from consumers.what_if import Side, WhatIf, what_if_streams
from streams.errors import ConfigurationError, LogError
from streams.shared_state import ENTRY_SET, set_entry


def entries(evolve: Any) -> Aggregate:
    """The shared state with another `evolve`."""
    made = Aggregate("state", initial=dict)
    made.evolve(ENTRY_SET)(evolve)
    return made


def as_it_is(state: dict[str, Any], event: Event) -> dict[str, Any]:
    """What the built-in one makes of an event."""
    evolved: dict[str, Any] = shared_state().evolved(state, event)
    return evolved


def compare(stage: MemoryStage, other: Aggregate) -> WhatIf:
    return what_if_streams(
        Side("this", [shared_state(), task_life()], stage.codec),
        Side("other", [other], stage.codec),
        reader=stage.reader,
        namespace=stage.namespace,
    )


@virtual_time
async def test_the_first_event_of_each_stream_is_named() -> None:
    """Two streams differ from their third event on, one has only two."""
    app = AggregateApp("state", shared_state())
    async with MemoryStage(app) as stage, stage.client("planner") as client:
        for n in range(4):
            for key in ("a", "b") if n >= 2 else ("a", "b", "c"):
                await client.command(set_entry(key, n))
        await stage.idle()

        def third(state: dict[str, Any], event: Event) -> dict[str, Any]:
            after = as_it_is(state, event)
            return after if event.version < 3 else {**after, "late": True}

        found = compare(stage, entries(third))
        assert compare(stage, entries(as_it_is)).equal
    assert found.diverged == 2
    assert [one.where for one in found.divergences] == ["state:a", "state:b"]
    for one in found.divergences:
        assert one.record is not None
        assert one.type == ENTRY_SET
        envelope = stage.codec.decode(one.record.value, one.record.headers)
        assert (envelope.stream_id, envelope.stream_version) == (one.where, 3)
        assert [found.path for found in one.differences] == [f"{one.where}.late"]
    assert {one.path.rpartition(".")[2] for one in found.differences} == {"late"}
    assert found.different == 2


@virtual_time
async def test_the_order_of_keys_means_nothing_and_a_healed_difference_is_still_named() -> None:
    """Each event is looked at: what is different after the second only is found, too."""
    app = AggregateApp("state", shared_state())
    async with MemoryStage(app) as stage, stage.client("planner") as client:
        for n in range(4):
            await client.command(set_entry("a", n))
        await stage.idle()

        def turned(state: dict[str, Any], event: Event) -> dict[str, Any]:
            return dict(reversed(as_it_is(state, event).items()))

        def spell(state: dict[str, Any], event: Event) -> dict[str, Any]:
            after = as_it_is(state, event)
            return {**after, "spell": 1} if event.version == 2 else after

        assert compare(stage, entries(turned)).equal
        healed = compare(stage, entries(spell))
    assert (healed.diverged, healed.different) == (1, 0)


@virtual_time
async def test_what_cannot_be_compared_says_why() -> None:
    """No aggregate in common; an `evolve` that fails, with the side and the record."""
    app = AggregateApp("state", shared_state())
    async with MemoryStage(app) as stage, stage.client("planner") as client:
        await client.command(set_entry("a", 1))
        await stage.idle()
        with pytest.raises(ConfigurationError, match="none in common"):
            compare(stage, Aggregate("other", initial=dict))

        def fails(_state: dict[str, Any], _event: Event) -> dict[str, Any]:
            raise ValueError("no")

        with pytest.raises(LogError, match=r"other: .*events\[\d\]@\d+: .*ValueError: no"):
            compare(stage, entries(fails))
