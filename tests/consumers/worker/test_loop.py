"""The event loop's side over a source and transactions in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from consumers.app import App
from consumers.context import Context
from consumers.outbox import Outbox
from consumers.worker import HandlerFailed
from consumers.worker.core import Core
from consumers.worker.loop import WorkerLoop
from consumers.worker.ports import Assigned, Committed, SourceListener, Transaction
from streams.envelope import Envelope
from streams.errors import AgentlogError, BrokerError
from streams.ports import SystemClock
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import Namespace
from tests.consumers.worker.harness import ASSIGN, CODEC, assign_task, until

SOURCE = Partition("ns.tasks", 0)


class MemorySource:
    """A source that is told what to deliver, and notes what it is told."""

    def __init__(self) -> None:
        self.reloads: list[Sequence[Partition]] = []

    def start(self, listener: SourceListener) -> None:
        self.listener = listener

    def reload(self, sources: Sequence[Partition]) -> None:
        self.reloads.append(sources)

    async def stop(self) -> None:
        pass


class MemoryTransactions:
    """Transactions that end as they are told, after a step of the loop."""

    def __init__(self) -> None:
        self.made: list[Transaction] = []
        self.answers: list[Committed] = []

    async def commit(self, transaction: Transaction) -> Committed:
        await asyncio.sleep(0)
        self.made.append(transaction)
        return self.answers.pop(0) if self.answers else Committed.YES

    async def close(self) -> None:
        pass


class Rig:
    """One loop over both."""

    def __init__(self, app: App, codec: Codec = CODEC) -> None:
        self.source = MemorySource()
        self.transactions = MemoryTransactions()
        self.released = 0
        outbox = Outbox(codec, Namespace("ns"), SystemClock(), app_name=app.name)
        self.core = Core(app.running_max, self._release)
        self.loop = WorkerLoop(
            app, self.core, self.source, self.transactions, outbox, group="ns.fleet", run_id="run"
        )
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.loop.run(self.stop))

    def _release(self, count: int, _size: int) -> None:
        self.released += count

    async def end(self) -> None:
        self.stop.set()
        await self.task

    def committed(self) -> int:
        """The last position that went into a transaction."""
        found = [
            positions[SOURCE] for made in self.transactions.made for _, positions in made.positions
        ]
        return found[-1] if found else 0


def record(position: int, envelope: Envelope) -> Record:
    return Record(*SOURCE, position, 1_000, b"k", CODEC.encode(envelope))


def fleet() -> tuple[App, list[int]]:
    """An app that notes the positions it ran on."""
    app = App("fleet", topics=("tasks",), commit_linger_ms=0)
    ran: list[int] = []

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
        ran.append(ctx.record.position)

    return app, ran


async def test_a_handler_that_is_interrupted_before_its_first_step_frees_its_key() -> None:
    """Partition lost and got back within one step of the loop: the record runs, once."""
    app, ran = fleet()
    rig = Rig(app)
    await asyncio.sleep(0)
    rig.loop.on_assigned([Assigned(1, SOURCE, 0, "m")])
    rig.loop.on_records([(1, [record(0, assign_task(0, "k"))])])
    rig.loop.on_lost([SOURCE])
    rig.loop.on_assigned([Assigned(2, SOURCE, 0, "m")])
    rig.loop.on_records([(2, [record(0, assign_task(0, "k"))])])
    await until(lambda: rig.committed() == 1, "committed")
    await rig.end()
    assert ran == [0]
    assert (rig.core.lanes.running, rig.released) == (0, 2)


async def test_h04_an_aborted_commit_is_made_again_without_running_anything_twice() -> None:
    """The same outputs and positions go into the next transaction."""
    app, ran = fleet()
    rig = Rig(app)
    rig.transactions.answers = [Committed.NO, Committed.NO]
    await asyncio.sleep(0)
    rig.loop.on_assigned([Assigned(1, SOURCE, 0, "m")])
    rig.loop.on_records([(1, [record(n, assign_task(n, "k")) for n in range(3)])])
    await until(lambda: rig.released == 3, "committed")
    await rig.end()
    assert ran == [0, 1, 2]
    assert rig.committed() == 3


async def test_h07_an_unknown_outcome_reloads_the_partitions() -> None:
    """Nothing of before is committed under the old assignment."""
    app, ran = fleet()
    rig = Rig(app)
    rig.transactions.answers = [Committed.UNKNOWN]
    await asyncio.sleep(0)
    rig.loop.on_assigned([Assigned(1, SOURCE, 0, "m")])
    rig.loop.on_records([(1, [record(0, assign_task(0, "k"))])])
    await until(lambda: rig.source.reloads == [[SOURCE]], "reloaded")
    rig.loop.on_records([(1, [record(1, assign_task(1, "k"))])])
    await asyncio.sleep(0.05)
    assert len(rig.transactions.made) == 1
    rig.loop.on_assigned([Assigned(2, SOURCE, 0, "m")])
    rig.loop.on_records([(2, [record(0, assign_task(0, "k"))])])
    await until(lambda: rig.committed() == 1 and len(rig.transactions.made) == 2, "committed")
    await rig.end()
    assert ran == [0, 0]


async def test_a_revocation_waits_for_what_runs_and_its_commit() -> None:
    """`done` is called after the commit, not before."""
    app = App("fleet", topics=("tasks",), commit_linger_ms=0)
    go, running = asyncio.Event(), asyncio.Event()

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        running.set()
        await go.wait()

    rig = Rig(app)
    await asyncio.sleep(0)
    rig.loop.on_assigned([Assigned(1, SOURCE, 0, "m")])
    rig.loop.on_records([(1, [record(n, assign_task(n, "k")) for n in range(2)])])
    await until(running.is_set, "running")
    committed_when_done: list[int] = []
    done: Callable[[], None] = lambda: committed_when_done.append(rig.committed())  # noqa: E731
    rig.loop.on_revoking([SOURCE], done)
    await asyncio.sleep(0.05)
    assert committed_when_done == []
    go.set()
    await until(lambda: bool(committed_when_done), "let go")
    assert committed_when_done == [1]
    await rig.end()


@pytest.mark.parametrize("error", [BrokerError("the schemas topic is away"), RuntimeError("odd")])
async def test_a_record_whose_schema_cannot_be_asked_for_stops_the_worker(error: Exception) -> None:
    """It is not skipped, and its partition does not wait for ever in silence."""

    class Away:
        """A schema source that cannot answer."""

        def writer_schema(self, _schema_id: int) -> str | None:
            raise error

    app, ran = fleet()
    rig = Rig(app, Codec(CODEC.catalogue, [Away()]))
    await asyncio.sleep(0)
    rig.loop.on_assigned([Assigned(1, SOURCE, 0, "m")])
    unknown = Record(*SOURCE, 1, 1_000, b"k", b"\0\0\0\0\7body")
    rig.loop.on_records([(1, [record(0, assign_task(0, "k")), unknown])])
    async with asyncio.timeout(10):
        with pytest.raises(AgentlogError, match=str(error)):
            await rig.task
    assert (ran, rig.committed()) == ([0], 1)
    assert rig.core.lanes.running == 0


async def test_a_handler_that_exits_is_a_handler_that_failed() -> None:
    """`sys.exit(0)` in a handler must not look like a worker that was told to stop."""
    app = App("fleet", topics=("tasks",))

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        raise SystemExit(0)

    rig = Rig(app)
    await asyncio.sleep(0)
    rig.loop.on_assigned([Assigned(1, SOURCE, 0, "m")])
    rig.loop.on_records([(1, [record(0, assign_task(0, "k"))])])
    async with asyncio.timeout(10):
        with pytest.raises(HandlerFailed, match="SystemExit"):
            await rig.task
    assert rig.committed() == 0
