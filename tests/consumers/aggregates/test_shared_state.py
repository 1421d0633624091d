"""The agents' shared state (S3.16) on the log in memory: versions, conflicts, who is told."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from consumers.aggregates import AggregateApp
from consumers.aggregates.shared_state import shared_state
from consumers.testing import MemoryStage, virtual_time
from streams.errors import CommandRejected, VersionConflict
from streams.shared_state import ENTRY_SET, STATE_CHANGED, Entry, entry_of, set_entry
from streams.topics import EVENTS, STATE


def state_app() -> AggregateApp:
    return AggregateApp("state", shared_state())


@virtual_time
async def test_s3_16_set_answers_the_version_and_where_its_event_is() -> None:
    """From 1, one more each time; the answer's position is that of the event."""
    async with MemoryStage(state_app()) as stage, stage.client("planner") as client:
        first = await client.command(set_entry("goal", {"city": "Basel"}))
        second = await client.command(set_entry("goal", {"city": "Bern"}))
        assert (first.version, second.version) == (1, 2)
        events = [
            (record, envelope)
            for record, envelope in zip(stage.records(EVENTS), stage.envelopes(EVENTS), strict=True)
            if envelope.type == ENTRY_SET
        ]
        assert [one.stream_version for _, one in events] == [1, 2]
        assert [(record.source, record.position) for record, _ in events] == [
            (first.source, first.position),
            (second.source, second.position),
        ]
        assert {one.writer_epoch for _, one in events} == {1}


@virtual_time
async def test_s3_16_an_update_of_what_has_changed_meanwhile_is_refused_with_what_is_there() -> (
    None
):
    """The conflict has the version and the entry, to decide from anew."""
    async with MemoryStage(state_app()) as stage, stage.client("planner") as client:
        await client.command(set_entry("n", 1, expected_version=0))
        with pytest.raises(VersionConflict) as conflict:
            await client.command(set_entry("n", 2, expected_version=0))
        found = entry_of(conflict.value.state, conflict.value.version)
        assert found is not None
        assert (found.value, found.version, found.updated_by) == (1, 1, "planner")
        assert (await client.command(set_entry("n", 2, expected_version=1))).version == 2


@virtual_time
async def test_s3_16_who_is_told_and_what() -> None:
    """Everybody, or those named, or nobody; the value only if it is asked for."""
    async with MemoryStage(state_app()) as stage, stage.client("planner") as client:
        await client.command(set_entry("a", 1))
        await client.command(set_entry("b", 2, include_value=True, subscribers=["x", "y"]))
        await client.command(set_entry("c", 3, notify=False))
        told: dict[str, list[Any]] = {}
        for topic in (EVENTS, "inbox"):
            for one in stage.envelopes(topic):
                if one.type == STATE_CHANGED:
                    told.setdefault(one.payload["key"], []).append(
                        (one.recipients, one.payload["full_value"])
                    )
        assert told == {"a": [((), None)], "b": [(("x", "y"), "2")] * 2}
        cached = {one.key: one for one in stage.records(STATE)}
        assert cached.keys() == {b"a", b"b", b"c"}


@virtual_time
async def test_what_is_no_json_is_refused() -> None:
    """By name, and nothing is written."""
    async with MemoryStage(state_app()) as stage, stage.client("planner") as client:
        wrong = set_entry("a", 1)
        with pytest.raises(CommandRejected, match="NotJson"):
            await client.command(wrong.with_(payload={**wrong.payload, "value": "{"}))
        with pytest.raises(CommandRejected, match=r"ForeignKey.*state:b"):
            await client.command(wrong.with_(stream_id="state:b"))
        assert stage.envelopes(EVENTS) == []


def test_an_entry_is_what_the_state_says() -> None:
    """None where nothing was set."""
    assert entry_of({}, 0) is None
    at = datetime(2026, 11, 21, tzinfo=UTC)
    state = {"value": "[1]", "updated_by": "me", "updated_at": at}
    assert entry_of(state, 3) == Entry([1], 3, "me", at)
