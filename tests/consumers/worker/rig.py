"""A worker's loop over a source and transactions that do as they are told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from consumers.app import App
from consumers.journal import OUTCOMES_RECORDED
from consumers.marks import Mark
from consumers.outbox import AtOnce, Outbox
from consumers.retry import RetryPolicy
from consumers.worker.core import Core
from consumers.worker.loop import WorkerLoop
from consumers.worker.ports import Assigned, Committed, SourceListener, Transaction
from consumers.worker.worker import gates_of
from streams.envelope import Envelope
from streams.headers import Header, record_headers
from streams.ports import Clock, SystemClock
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import Namespace
from tests.consumers.worker.harness import CODEC

SOURCE = Partition("ns.tasks", 0)
FAST = RetryPolicy(wait_ms=1, wait_ms_max=1)


class ToldSource:
    """A source that is told what to deliver, and notes what it is told."""

    def __init__(self) -> None:
        self.reloads: list[Sequence[Partition]] = []
        self.holds: list[frozenset[Partition]] = []

    def start(self, listener: SourceListener) -> None:
        self.listener = listener

    def reload(self, sources: Sequence[Partition]) -> None:
        self.reloads.append(sources)

    def hold(self, sources: frozenset[Partition]) -> None:
        self.holds.append(sources)

    async def commit(self, marks: Mapping[int, Mark]) -> Committed:
        raise AssertionError(f"these commit in transactions: {marks}")

    async def stop(self) -> None:
        pass


class ToldTransactions:
    """Transactions that end as they are told, after a step of the loop."""

    def __init__(self) -> None:
        self.made: list[Transaction] = []
        """Those that happened, or may have."""
        self.asked = 0
        self.answers: list[Committed] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def commit(self, transaction: Transaction) -> Committed:
        self.asked += 1
        await asyncio.sleep(0)
        await self.may_go_on.wait()
        answer = self.answers.pop(0) if self.answers else Committed.YES
        if answer is not Committed.NO:
            self.made.append(transaction)
        return answer

    async def close(self) -> None:
        pass


class SetClock:
    """A clock that stands until it is set."""

    def __init__(self, now_us: int) -> None:
        self.now = now_us

    def now_us(self) -> int:
        return self.now


class Rig:
    """One loop over both, in a namespace `ns` and a group `ns.fleet`."""

    def __init__(
        self,
        app: App,
        *,
        codec: Codec = CODEC,
        clock: Clock | None = None,
        at_once: AtOnce | None = None,
    ) -> None:
        self.source = ToldSource()
        self.transactions = ToldTransactions()
        self.count = 0
        """Records in the window."""
        self.codec = codec
        outbox = Outbox(
            codec,
            Namespace("ns"),
            clock or SystemClock(),
            app_name=app.name,
            writer="run",
            at_once=at_once,
        )
        self.core = Core(
            app.running_max, self._release, gates=gates_of(app), dedup_window=app.dedup_window
        )
        self.loop = WorkerLoop(
            app,
            self.core,
            self.source,
            self.transactions,
            outbox,
            group="ns.fleet",
            run_id="run",
            rng=random.Random(0),
        )
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.loop.run(self.stop))

    def _release(self, count: int, _size: int) -> None:
        self.count -= count

    def assign(self, token: int = 1, position: int = 0, mark: str = "") -> None:
        self.loop.on_assigned([Assigned(token, SOURCE, position, mark, "m")])

    def deliver(self, *records: Record, token: int = 1) -> None:
        self.count += len(records)
        self.loop.on_records([(token, records)])

    @property
    def mark(self) -> Mark:
        """The last one that went into a transaction."""
        found = [
            positions[SOURCE] for made in self.transactions.made for _, positions in made.positions
        ]
        return found[-1] if found else Mark(0)

    def committed(self) -> int:
        """The position of that."""
        return self.mark.position

    def records(self, topic: str) -> list[Record]:
        """What the transactions wrote to a topic."""
        return [
            Record(output.topic, 0, n, 1_000, output.key, output.value, tuple(output.headers))
            for made in self.transactions.made
            for n, output in enumerate(made.outputs)
            if output.topic == f"ns.{topic}"
        ]

    def envelopes(self, topic: str) -> list[Envelope]:
        """The same, decoded."""
        return [CODEC.decode(one.value, one.headers) for one in self.records(topic)]

    def outcomes(self) -> dict[str, str]:
        """By the records' ids: outcome and reason of all that was not simply handled."""
        return {
            one["id"]: f"{one['outcome']}: {one['reason']}"
            for envelope in self.envelopes("journal")
            if envelope.type == OUTCOMES_RECORDED
            for one in envelope.payload["exceptions"]
        }

    async def end(self) -> None:
        self.stop.set()
        await self.task


@asynccontextmanager
async def rigged(app: App, **settings: Any) -> AsyncIterator[Rig]:
    """A rig with an open partition; ended in order, with nothing left in it."""
    rig = Rig(app, **settings)
    await asyncio.sleep(0)
    rig.assign()
    yield rig
    async with asyncio.timeout(30):
        await rig.end()
    assert rig.core.lanes.running == 0
    assert rig.loop.stubborn == 0


def record(
    position: int, envelope: Envelope, *headers: Header, key: bytes = b"k", topic: str = "ns.tasks"
) -> Record:
    return Record(
        topic,
        0,
        position,
        1_000,
        key,
        CODEC.encode(envelope),
        (*record_headers(envelope), *headers),
    )
