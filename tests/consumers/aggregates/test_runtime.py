"""The runtime on the log in memory: one writer, states rebuilt, histories that are broken."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from consumers.aggregates import (
    Aggregate,
    AggregateApp,
    MemoryStates,
    Rebuilding,
    StateDiffers,
    StreamBroken,
)
from consumers.aggregates.shared_state import shared_state
from consumers.testing import MemoryStage, virtual_time
from streams.envelope import Envelope, Kind
from streams.errors import ConfigurationError, LogError, RequestFailed
from streams.record import Record
from streams.shared_state import ENTRY_SET, SET_ENTRY, set_entry
from streams.topics import EVENTS


def state_app(aggregate: Aggregate | None = None, **bounds: Any) -> AggregateApp:
    return AggregateApp("state", aggregate or shared_state(), **bounds)


def rebuilt(stage: MemoryStage, aggregate: Aggregate, records: list[Record]) -> Rebuilding:
    """What a fold of these records comes to."""
    made = Rebuilding([aggregate], stage.codec, MemoryStates(), verify=True)
    made.add(records)
    return made


@virtual_time
async def test_a_worker_that_takes_over_goes_on_where_the_last_one_was() -> None:
    """Its states are rebuilt before the first command, and it writes under a new epoch."""
    app = state_app()
    async with MemoryStage(app) as stage, stage.client("planner") as client:
        for n in range(3):
            await client.command(set_entry("n", n))
        await stage.stop_worker(stage.workers[0])
        stage.start_worker(app)
        assert (await client.command(set_entry("n", 9, expected_version=3))).version == 4
        events = [one for one in stage.envelopes(EVENTS) if one.type == ENTRY_SET]
        assert [(one.stream_version, one.writer_epoch) for one in events] == [
            *((n, 1) for n in (1, 2, 3)),
            (4, 2),
        ]
        assert len({one.writer for one in events}) == 2


@virtual_time
async def test_what_is_rebuilt_is_what_was_decided_on() -> None:
    """Each command's last event says what the state was; another `evolve` is found out."""
    app = state_app()
    async with MemoryStage(app) as stage, stage.client("planner") as client:
        for n in range(3):
            await client.command(set_entry("n", n))
        records = stage.records(EVENTS)
        found = rebuilt(stage, shared_state(), records)
        assert (found.events, found.verified) == (3, 3)
        other = Aggregate("state", initial=dict)
        other.evolve(ENTRY_SET)(lambda _state, event: {"value": event.version % 2})
        with pytest.raises(StateDiffers, match=r"test\.events\[\d\]@\d+: version 1 of state:n"):
            rebuilt(stage, other, records)


@virtual_time
async def test_a_gap_a_repetition_and_an_old_epoch_are_named() -> None:
    """A lost event, two writers of one version, a writer that was replaced."""
    app = state_app()
    async with MemoryStage(app) as stage, stage.client("planner") as client:
        for n in range(2):
            await client.command(set_entry("n", n))
        await stage.stop_worker(stage.workers[0])
        stage.start_worker(app)
        await client.command(set_entry("n", 2))
        first, second, third = (
            record
            for record, one in zip(stage.records(EVENTS), stage.envelopes(EVENTS), strict=True)
            if one.type == ENTRY_SET
        )
        with pytest.raises(StreamBroken, match="from version 1 to 3: events are missing"):
            rebuilt(stage, shared_state(), [first, third])
        with pytest.raises(StreamBroken, match="version 2 twice: two writers"):
            rebuilt(stage, shared_state(), [first, second, second])
        again = Rebuilding([shared_state()], stage.codec, MemoryStates(), epoch=2)
        with pytest.raises(StreamBroken, match="under epoch 1, after epoch 2 had begun"):
            again.add([first])


@virtual_time
async def test_what_is_published_without_a_version_belongs_to_no_stream() -> None:
    """Anybody may write an envelope under a stream's key: it changes no state."""
    app = state_app()
    async with MemoryStage(app) as stage, stage.client("planner") as client:
        await client.command(set_entry("n", 1))
        await stage.publish(
            Envelope(
                type=ENTRY_SET,
                payload={"key": "n", "value": "7", "updated_by": "x", "updated_at": 0},
                stream_id="state:n",
            )
        )
        await stage.stop_worker(stage.workers[0])
        stage.start_worker(app)
        assert (await client.command(set_entry("n", 2, expected_version=1))).version == 2


@virtual_time
async def test_a_command_under_another_key_than_its_streams_is_refused() -> None:
    """Its events would be on a partition that another worker may own."""
    app = state_app()
    async with MemoryStage(app) as stage, stage.client("planner") as client:
        await client.command(set_entry("n", 1))
        (record,) = stage.records("commands")
        again = stage.codec.decode(record.value, record.headers).with_(
            id="msg-1700000000000-000000009"
        )
        stage.log.append(record.source, b"other", stage.codec.encode(again), record.headers)
        await stage.idle()
        events = [one for one in stage.envelopes(EVENTS) if one.type == ENTRY_SET]
        assert [one.stream_version for one in events] == [1]


@virtual_time
async def test_a_decision_that_raises_changes_nothing_and_is_tried_again() -> None:
    """Also when it raises after it has decided on a first event."""
    aggregate = Aggregate("state", initial=dict)
    tries = 0

    @aggregate.decide(SET_ENTRY)
    def decide(_state: Any, command: Any) -> Any:
        nonlocal tries
        tries += 1
        said = command.payload
        entry = {"key": said["key"], "updated_by": "x", "updated_at": 0}
        yield Envelope(type=ENTRY_SET, payload={**entry, "value": "1"})
        if tries < 3:
            raise OSError("not now")

    @aggregate.evolve(ENTRY_SET)
    def evolve(state: dict[str, Any], event: Any) -> Any:
        state["n"] = state.get("n", 0) + 1
        return state

    async with MemoryStage(state_app(aggregate)) as stage, stage.client("planner") as client:
        assert (await client.command(set_entry("n", 1))).version == 1
        assert tries == 3
        events = [one for one in stage.envelopes(EVENTS) if one.type == ENTRY_SET]
        assert [one.stream_version for one in events] == [1]


@virtual_time
async def test_a_command_that_nobody_can_decide_on_is_answered_with_why() -> None:
    """Its record is a dead letter, and whoever waits hears of it."""
    aggregate = Aggregate("state", initial=dict)
    aggregate.decide(SET_ENTRY)(lambda _state, _command: 1 / 0)
    async with MemoryStage(state_app(aggregate)) as stage, stage.client("planner") as client:
        with pytest.raises(RequestFailed, match="ZeroDivisionError"):
            await client.command(set_entry("n", 1), timeout_s=300)
        assert len(stage.records("commands.dlq")) == 1


@virtual_time
async def test_a_history_that_cannot_be_folded_ends_the_worker_and_loses_no_command() -> None:
    """The error names the position; the command waits for whoever can."""
    broken = Aggregate("state", initial=dict)
    broken.decide(SET_ENTRY)(lambda _state, _command: None)
    app = state_app()
    async with MemoryStage(app) as stage, stage.client("planner") as client:
        await client.command(set_entry("n", 1))
        await stage.stop_worker(stage.workers[0])
        sent = await stage.publish(set_entry("n", 2).with_(kind=Kind.COMMAND))
        worker = stage.start_worker(state_app(broken))
        await asyncio.wait({stage._running[worker][0]}, timeout=60)
        with pytest.raises(LogError, match=r"test\.events\[\d\]@\d+: .*does not evolve with"):
            await stage.stop_worker(worker)
        assert stage.outcome(sent.id, app) is None


def test_what_cannot_be_an_aggregate_is_said_so() -> None:
    """Names that are no front of a stream id, two of one name, an app without any."""
    with pytest.raises(ConfigurationError, match="cannot be called 'A b'"):
        Aggregate("A b", initial=dict)
    with pytest.raises(ConfigurationError, match="the name state"):
        AggregateApp("x", shared_state(), shared_state())
    with pytest.raises(ConfigurationError, match="exactly once"):
        state_app(delivery="at_least_once")
    with pytest.raises(ConfigurationError, match=r"no handler of its own for agentlog\.Json"):
        state_app().on("agentlog.Json")
    with pytest.raises(ConfigurationError, match="no aggregate"):
        AggregateApp("x")
