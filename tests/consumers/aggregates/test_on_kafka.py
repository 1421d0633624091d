"""Aggregates on real Kafka: shared state, owners that change, transactions left open."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from confluent_kafka import Producer

from consumers.aggregates import AggregateApp, MemoryStates, Rebuilding
from consumers.aggregates.shared_state import shared_state
from consumers.worker.transactions import CONFIG
from streams.errors import VersionConflict
from streams.record import Partition
from streams.session import Session, session_on
from streams.settings import Settings
from streams.shared_state import ENTRY_SET
from streams.state_access import SharedState
from streams.topics import COMMANDS, EVENTS, TOPICS
from tests.consumers.worker.harness import CODEC, USED, Bench, until

TWO = {
    **USED,
    **{name: msgspec.structs.replace(TOPICS[name], partitions=2) for name in (COMMANDS, EVENTS)},
}


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace whose streams are on two partitions."""
    return Bench(kafka, namespace, TWO)


@pytest.fixture
def session(kafka: str, namespace: str, bench: Bench) -> Session:
    return session_on(kafka, Settings(namespace=namespace))


def app() -> AggregateApp:
    return AggregateApp("state", shared_state(), dedup_window=1_000)


def rebuilt(bench: Bench) -> dict[str, int]:
    """The versions of all streams, rebuilt from the log and compared with what was decided."""
    found: dict[str, int] = {}
    for index in range(2):
        states = MemoryStates()
        made = Rebuilding([shared_state()], CODEC, states, verify=True)
        made.add([one for one in bench.records(EVENTS) if one.partition == index])
        assert made.verified == made.events
        found |= {stream_id: state.version for stream_id, state in states.items()}
    return found


async def test_s3_16_what_one_agent_sets_another_gets(bench: Bench, session: Session) -> None:
    """`latest` sees what was set before it was asked for; the event is where the answer says."""
    async with (
        bench.working(app()),
        session.shared_state("writer") as writer,
        session.shared_state("reader") as reader,
    ):
        assert await reader.get("goal", latest=True) is None
        for n in range(1, 6):
            assert await writer.set("goal", {"n": n}) == n
            entry = await reader.get("goal", latest=True)
            assert entry is not None
            assert (entry.value, entry.version, entry.updated_by) == ({"n": n}, n, "writer")
            assert abs(datetime.now(UTC) - entry.updated_at) < timedelta(minutes=2)
        with pytest.raises(VersionConflict, match="state:goal is at version 5"):
            await writer.set("goal", 0, expected_version=4)
    assert rebuilt(bench) == {"state:goal": 5}


async def test_s3_16_fifty_writers_of_one_key_lose_no_update(
    bench: Bench, session: Session
) -> None:
    """Each adds one, four times, while the owner is replaced: 200 versions, and the sum is 200."""
    async with AsyncExitStack() as stack:
        states = [
            await stack.enter_async_context(session.shared_state(f"writer-{n}")) for n in range(5)
        ]

        async def add(state: SharedState) -> None:
            for _ in range(4):
                await state.update("sum", lambda value: (value or 0) + 1, notify=False)

        async with bench.working(app()):
            writers = [asyncio.create_task(add(states[n % 5])) for n in range(50)]
            await until(
                lambda: any(one.conflicts for one in states), "they get in each other's way"
            )
        async with bench.working(app()) as task:
            await asyncio.wait_for(asyncio.gather(*writers), 60)
            entry = await states[0].get("sum", latest=True)
            assert entry is not None
            assert (entry.value, entry.version) == (200, 200)
            assert not task.done()
    assert rebuilt(bench) == {"state:sum": 200}
    epochs = {one.writer_epoch for one in bench.envelopes(EVENTS) if one.type == ENTRY_SET}
    assert epochs <= {1, 2}


async def test_an_owner_waits_for_the_transaction_that_another_left_open(
    bench: Bench, session: Session, namespace: str
) -> None:
    """Nobody can say what the states are until it has ended; the command waits, and is decided."""
    async with bench.working(app()), session.shared_state("a") as state:
        for n in range(8):
            await state.set(f"k{n}", n)
    producer = Producer(
        {**CONFIG, "bootstrap.servers": bench.servers, "transactional.id": f"{namespace}-ghost"}
    )
    producer.init_transactions(30)
    producer.begin_transaction()
    for index in range(2):
        producer.produce(bench.namespace.topic(EVENTS), b"never seen", b"x", index)
    assert producer.flush(30) == 0
    async with bench.working(app()) as task, session.shared_state("a") as state:
        setting = asyncio.create_task(state.set("k1", 9, expected_version=1))
        stable = Partition(bench.namespace.topic(EVENTS), 0)
        await until(
            lambda: (
                bench.reader.ends([stable.topic]).ends[stable] < bench.reader.appended_end(stable)
            ),
            "open",
        )
        assert not setting.done()
        await asyncio.to_thread(producer.abort_transaction, 30)
        assert await asyncio.wait_for(setting, 30) == 2
        assert not task.done()
