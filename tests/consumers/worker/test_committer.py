"""What has settled goes into one transaction after another."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from consumers.app import App
from consumers.context import Context
from consumers.marks import Mark
from consumers.worker import committer as module
from consumers.worker.ports import Assigned, Committed
from streams.errors import BrokerError
from streams.record import Partition, Record
from tests.consumers.worker.harness import ASSIGN, assign_task, status, until
from tests.consumers.worker.rig import FAST, SOURCE, Rig, record, rigged

OTHER = Partition("ns.tasks", 1)


def publishing(**settings: Any) -> App:
    """An app that publishes a status per record."""
    app = App("fleet", topics=("tasks",), retry=FAST, **{"commit_linger_ms": 0, **settings})

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(status(payload["task"]["id"], "s"))

    return app


async def test_what_finishes_within_the_linger_commits_together() -> None:
    """One transaction, one journal record, outputs in order."""
    async with rigged(publishing(commit_linger_ms=50)) as rig:
        await until(lambda: len(rig.transactions.made) == 1, "open")
        rig.deliver(*(record(n, assign_task(n, "k")) for n in range(20)))
        await until(lambda: rig.committed() == 20, "committed")
        assert len(rig.transactions.made) == 2
        assert len(rig.envelopes("journal")) == 1
        texts = [one.payload["current_tasks"][0] for one in rig.envelopes("events")]
        assert texts == [f"t{n}" for n in range(20)]


async def test_a_schema_is_announced_with_its_first_use_and_not_again() -> None:
    """A transaction that did not happen has announced nothing."""
    async with rigged(publishing()) as rig:
        await until(lambda: len(rig.transactions.made) == 1, "open")
        rig.transactions.answers = [Committed.NO]
        for position in range(3):
            rig.deliver(record(position, assign_task(position, "k")))
            await until(lambda at=position: rig.committed() == at + 1, "committed")  # type: ignore[misc]
        counts = [
            sum(output.topic == "ns.schemas" for output in made.outputs)
            for made in rig.transactions.made
        ]
    assert counts == [0, 2, 0, 0]  # of the output and of the journal record


async def test_h03_partitions_that_came_at_once_commit_in_one_call() -> None:
    """Metadata is compared by identity: each assignment's own, once."""
    async with rigged(publishing()) as rig:
        await until(lambda: len(rig.transactions.made) == 1, "open")
        first, second = object(), object()
        third = Partition("ns.tasks", 2)
        rig.loop.on_assigned(
            [
                Assigned(2, SOURCE, 0, "", first),
                Assigned(3, OTHER, 0, "", first),
                Assigned(4, third, 0, "", second),
            ]
        )
        await until(lambda: len(rig.transactions.made) == 2, "open")
        opened = Mark(0, clean=False)
        assert rig.transactions.made[1].positions == [
            (first, {SOURCE: opened, OTHER: opened}),
            (second, {third: opened}),
        ]


async def test_positions_move_over_invisible_records_while_nothing_finishes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a while of rest, with a journal record that chains."""
    monkeypatch.setattr(module, "IDLE_COMMIT_S", 0.02)
    async with rigged(publishing()) as rig:
        await until(lambda: len(rig.transactions.made) == 1, "open")
        rig.loop.on_read_to([(1, 7)])
        await until(lambda: rig.committed() == 7, "moved")
        (said,) = [one.payload for one in rig.envelopes("journal")]
        assert (said["prefix_from"], said["prefix_to"], said["finished"]) == (0, 7, [])


async def test_a_worker_gives_up_after_too_many_aborts_in_a_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends with an error, so that a supervisor hears of it; one success forgives all."""
    monkeypatch.setattr(module, "ABORTS_MAX", 3)
    monkeypatch.setattr(module, "ABORT_BACKOFF_S", 0.001)
    rig = Rig(publishing())
    await asyncio.sleep(0)
    no, yes = Committed.NO, Committed.YES
    rig.transactions.answers = [no, no, no, yes, no, no, no, yes]
    rig.assign()
    rig.deliver(record(0, assign_task(0, "k")))
    await until(lambda: rig.committed() == 1, "committed")
    rig.transactions.answers = [no] * 20
    rig.deliver(record(1, assign_task(1, "k")))
    async with asyncio.timeout(20):
        with pytest.raises(BrokerError, match=r"ns\.fleet: 4 transactions in a row"):
            await rig.task


async def test_a_mark_that_records_wait_for_does_not_linger() -> None:
    """Though another partition has settled something that does."""
    async with rigged(publishing(commit_linger_ms=3_600_000)) as rig:
        await until(lambda: len(rig.transactions.made) == 1, "open")
        rig.deliver(record(0, assign_task(0, "k")))
        await until(lambda: rig.core.settled_of([SOURCE]), "finished")
        rig.loop.on_assigned([Assigned(2, OTHER, 0, "", "m")])
        await until(lambda: len(rig.transactions.made) == 2, "open")
        assert rig.committed() == 1


async def test_what_was_settled_is_committed_before_the_end() -> None:
    """A stop comes between a record's end and its commit: nobody lingers then."""
    app = publishing(commit_linger_ms=3_600_000)
    rig = Rig(app)
    await asyncio.sleep(0)
    rig.assign()
    await until(lambda: len(rig.transactions.made) == 1, "open")
    rig.deliver(record(0, assign_task(0, "k")))
    await until(lambda: rig.core.settled_of([SOURCE]), "finished")
    rig.transactions.answers = [Committed.NO]
    async with asyncio.timeout(20):
        await rig.end()
    assert rig.mark == Mark(1, clean=True)
    assert len(rig.envelopes("events")) == 1


async def test_a_record_that_nobody_can_read_commits_as_a_dead_letter() -> None:
    """With its own bytes, in the transaction that says so."""
    async with rigged(publishing()) as rig:
        rig.deliver(Record(*SOURCE, 0, 1_000, None, b"junk"))
        await until(lambda: rig.committed() == 1, "committed")
        (dead,) = rig.records("tasks.dlq")
        assert (dead.key, dead.value) == (None, b"junk")
        assert rig.outcomes() == {"": "dead_lettered: undecodable"}
