"""Checkpoints on the log in memory: a rebuild begins behind them, and never goes by a wrong one."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from consumers.aggregates import Aggregate, AggregateApp, MemoryStates
from consumers.aggregates.checkpoints import CHECKPOINT_MADE, Checkpoint, last_checkpoint
from consumers.aggregates.code import made_by
from consumers.aggregates.restoring import begin, events_of, fold, snapshots_of
from consumers.aggregates.shared_state import shared_state
from consumers.testing import MemoryStage, virtual_time
from streams.record import Partition
from streams.shared_state import ENTRY_SET, set_entry
from streams.topics import EVENTS, SNAPSHOTS
from streams.topics.partitioning import partition_for

KEY = "n"
INDEX = partition_for(f"state:{KEY}".encode(), 8)


def state_app(aggregate: Aggregate | None = None) -> AggregateApp:
    return AggregateApp(
        "state", aggregate or shared_state(), checkpoint_positions=5, checkpoint_look_s=1.0
    )


def newest(stage: MemoryStage) -> Checkpoint | None:
    return last_checkpoint(stage.reader, stage.codec, snapshots_of(stage.namespace, INDEX))


def begun(
    stage: MemoryStage, *aggregates: Aggregate, end_max: int = 10**9
) -> tuple[dict[str, Any], int]:
    """The states that a rebuild begins with, and where."""
    states = MemoryStates()
    parts = (stage.reader, stage.codec, stage.namespace, INDEX, states)
    rebuilding, start = begin(aggregates, *parts, end_max=end_max)
    assert rebuilding.states is states
    return {stream_id: state.version for stream_id, state in states.items()}, start


async def sets(client: Any, count: int) -> None:
    for n in range(count):
        await client.command(set_entry(KEY, n, notify=False))


@virtual_time
async def test_a_rebuild_begins_behind_the_last_checkpoint() -> None:
    """Also that of the next owner, which goes on from there; each names the one before."""
    app = state_app()
    async with MemoryStage(app) as stage, stage.client("planner") as client:
        assert newest(stage) is None
        await sets(client, 6)
        await stage.advance(3)
        first = newest(stage)
        assert first is not None
        assert (first.streams, first.previous, first.epoch) == (1, -1, 1)
        assert begun(stage, shared_state()) == ({"state:n": 6}, first.end)
        await sets(client, 6)
        await stage.advance(3)
        second = newest(stage)
        assert second is not None
        assert second.previous == first.position
        assert begun(stage, shared_state(), end_max=second.end - 1)[1] == first.end
        assert begun(stage, shared_state(), end_max=first.end - 1) == ({}, 0)
        await stage.stop_worker(stage.workers[0])
        stage.start_worker(app)
        assert (await client.command(set_entry(KEY, 0, expected_version=12))).version == 13
        epochs = [one.writer_epoch for one in stage.envelopes(EVENTS) if one.type == ENTRY_SET]
        assert epochs == [1] * 12 + [2]


@virtual_time
async def test_what_a_checkpoint_has_is_what_the_events_come_to() -> None:
    """Byte by byte, with and without it."""
    async with MemoryStage(state_app()) as stage, stage.client("planner") as client:
        await sets(client, 6)
        await stage.advance(3)
        await sets(client, 3)
        events = events_of(stage.namespace, INDEX)
        end = stage.log.end(events)
        found = []
        for aggregates in ((shared_state(),), (shared_state(), Aggregate("other", initial=dict))):
            states = MemoryStates()
            parts = (stage.reader, stage.codec, stage.namespace, INDEX, states)
            rebuilding, start = begin(aggregates, *parts, end_max=end)
            fold(rebuilding, stage.reader, events, start, end)
            found.append((start > 0, list(states.items()), rebuilding.epoch))
        assert [began_behind for began_behind, *_ in found] == [True, False]
        assert found[0][1:] == found[1][1:]


@virtual_time
async def test_other_code_another_version_or_schema_means_the_events_themselves() -> None:
    """Never a state that other code has made."""
    async with MemoryStage(state_app()) as stage, stage.client("planner") as client:
        await sets(client, 6)
        await stage.advance(3)
        assert begun(stage, shared_state())[1] > 0
        newer = shared_state()
        newer.version = 2
        assert begun(stage, newer) == ({}, 0)
        other = Aggregate("state", initial=dict)
        other.evolve(ENTRY_SET)(lambda state, _event: state)
        assert begun(stage, other) == ({}, 0)


def test_what_states_hang_on_is_seen() -> None:
    """The source of the functions' modules, typed ones by their instructions, and the schemas."""
    codec = MemoryStage().codec

    def made(text: str) -> Aggregate:
        module = types.ModuleType("typed")
        sys.modules.pop("typed", None)
        exec(text, module.__dict__)  # noqa: S102 - code that is in no file
        aggregate = Aggregate("state", initial=dict)
        aggregate.evolve(ENTRY_SET)(module.__dict__["evolve"])
        return aggregate

    one = "def evolve(state, event):\n    return {'a': 1}\n"
    assert made_by(made(one), codec) == made_by(made(one), codec)
    assert made_by(made(one), codec) != made_by(made(one.replace("1", "2")), codec)
    assert made_by(made(one), codec).schemas == made_by(shared_state(), codec).schemas


@virtual_time
async def test_a_checkpoint_that_is_not_whole_is_passed_over(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its snapshots were removed, or are damaged: the events say it all the same."""
    async with MemoryStage(state_app()) as stage, stage.client("planner") as client:
        await sets(client, 6)
        await stage.advance(3)
        found = newest(stage)
        assert found is not None
        records = [one for one in stage.records(SNAPSHOTS) if one.partition == INDEX]
        made = next(
            one
            for one in records
            if stage.codec.decode(one.value, one.headers).type == CHECKPOINT_MADE
        )
        source = Partition(stage.namespace.topic(SNAPSHOTS), INDEX)
        # The same checkpoint again, whose snapshots are said to begin with itself.
        stage.log.append(source, made.key, made.value, made.headers)
        again = newest(stage)
        assert again is not None
        stage.log.remove_before(source, again.position)
        assert begun(stage, shared_state()) == ({}, 0)
        told = capsys.readouterr().out
        assert "checkpoint_incomplete" in told or "no longer has" in told
