"""The life of a task on the log in memory: what may follow what, and whose clock decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumers.aggregates import AggregateApp, MemoryStates, Rebuilding
from consumers.aggregates.task_life import FOLLOWS, task_life
from consumers.testing import MemoryStage, virtual_time
from streams.errors import CommandRejected, InvalidPayload
from streams.task_life import Step, advance_task
from streams.topics import EVENTS


@virtual_time
async def test_a_task_lives_from_its_assignment_to_its_end() -> None:
    """Each step is a version; what each said stays in the state, and rebuilds to the same."""
    async with MemoryStage(AggregateApp("tasks", task_life())) as stage, stage.client("b") as boss:
        steps = [
            advance_task("t1", Step.ASSIGNED, assignee="a1"),
            advance_task("t1", Step.ASSIGNED, assignee="a2"),
            advance_task("t1", Step.STARTED),
            advance_task("t1", Step.PROGRESSED, percentage=40),
            advance_task("t1", Step.COMPLETED, result={"files": 3}),
        ]
        for n, one in enumerate(steps):
            assert (await boss.command(one.with_(expected_version=n))).version == n + 1
        for step in Step:
            with pytest.raises(CommandRejected, match=r"IllegalStep.*may be nothing next"):
                await boss.command(advance_task("t1", step))
        states = MemoryStates()
        rebuilding = Rebuilding([task_life()], stage.codec, states, verify=True)
        rebuilding.add(stage.records(EVENTS))
        assert rebuilding.verified == 5
        held = states.get("task:t1")
        assert held is not None
        assert held.value() == {
            "step": "completed",
            "assignee": "a2",
            "percentage": 40,
            "result": '{"files": 3}',
        }


@virtual_time
async def test_only_the_log_says_that_a_task_is_late() -> None:
    """Before its deadline nobody can time it out, and without one never."""
    async with MemoryStage(AggregateApp("tasks", task_life())) as stage, stage.client("b") as boss:
        now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=stage.log.clock.now_us())
        deadline = now + timedelta(seconds=60)
        await boss.command(advance_task("t", Step.ASSIGNED, assignee="a", deadline=deadline))
        await boss.command(advance_task("u", Step.ASSIGNED, assignee="a"))
        with pytest.raises(CommandRejected, match="NotLate"):
            await boss.command(advance_task("t", Step.TIMED_OUT))
        await stage.advance(61)
        assert (await boss.command(advance_task("t", Step.TIMED_OUT))).version == 2
        with pytest.raises(CommandRejected, match="NoDeadline"):
            await boss.command(advance_task("u", Step.TIMED_OUT))


@virtual_time
async def test_a_step_says_what_belongs_to_it_and_nothing_else() -> None:
    """By name, and nothing happens."""
    async with MemoryStage(AggregateApp("tasks", task_life())) as stage, stage.client("b") as boss:
        for wrong, why in (
            (advance_task("t", Step.ASSIGNED), "MissingField.*needs assignee"),
            (advance_task("t", Step.ASSIGNED, assignee="a", percentage=1), "IllegalField"),
            (advance_task("t", Step.STARTED), "IllegalStep.*not assigned"),
            (advance_task("t", Step.ASSIGNED, assignee="a").with_(stream_id="task:u"), "Foreign"),
        ):
            with pytest.raises(CommandRejected, match=why):
                await boss.command(wrong)
        await boss.command(advance_task("t", Step.ASSIGNED, assignee="a"))
        await boss.command(advance_task("t", Step.STARTED))
        with pytest.raises(CommandRejected, match="percentage is 101"):
            await boss.command(advance_task("t", Step.PROGRESSED, percentage=101))
        assert len(stage.records(EVENTS)) == 2
    with pytest.raises(InvalidPayload, match="no JSON value"):
        advance_task("t", Step.COMPLETED, result=object())


def test_every_step_has_what_may_follow_it() -> None:
    """The table is whole."""
    assert FOLLOWS.keys() == {None, *Step}
