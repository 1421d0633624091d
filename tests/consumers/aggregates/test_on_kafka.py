"""Aggregates on real Kafka: shared state, owners that change, transactions left open."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from structlog.testing import capture_logs
from typer.testing import CliRunner

from consumers.aggregates import AggregateApp, MemoryStates, Rebuilding
from consumers.aggregates.checkpoints import last_checkpoint
from consumers.aggregates.restoring import snapshots_of
from consumers.aggregates.shared_state import shared_state
from consumers.cli.main import app as cli
from consumers.worker import Worker
from consumers.worker.transactions import CONFIG
from streams.envelope import Kind
from streams.errors import ConfigurationError, LogError, VersionConflict
from streams.record import Partition
from streams.session import Session, session_on
from streams.settings import Settings
from streams.shared_state import ENTRY_SET, set_entry
from streams.state_access import SharedState
from streams.topics import COMMANDS, EVENTS, SNAPSHOTS, TOPICS
from streams.topics.partitioning import partition_for
from tests.consumers.worker.harness import CODEC, USED, Bench, until

TWO = {
    **USED,
    **{
        name: msgspec.structs.replace(TOPICS[name], partitions=2)
        for name in (COMMANDS, EVENTS, SNAPSHOTS)
    },
}


STAMPED: dict[str, Any] = {
    "id": "msg-1700000000000-000000000",
    "kind": Kind.COMMAND,
    "sender": "a",
    "created_at": 1_700_000_000_000_000,
}


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace whose streams are on two partitions."""
    return Bench(kafka, namespace, TWO)


async def test_topics_that_do_not_go_together_end_the_worker_and_lose_no_command(
    kafka: str, namespace: str
) -> None:
    """A stream would have its events on another partition than its commands: it says so."""
    bench = Bench(kafka, namespace, {**TWO, EVENTS: TOPICS[EVENTS]})
    bench.send([set_entry("n", 1).with_(**STAMPED)])
    worker = Worker(app(), bench.servers, bench.namespace, CODEC)
    with pytest.raises(ConfigurationError, match=r"commands has 2, .*events has 8.*must be equal"):
        await asyncio.wait_for(worker.run(asyncio.Event()), 60)
    assert set(bench.positions("state", COMMANDS).values()) <= {0}
    assert bench.records("commands.dlq") == []


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


async def test_an_owner_begins_behind_a_checkpoint_that_was_written_beside_the_work(
    bench: Bench, session: Session
) -> None:
    """In one transaction on `snapshots`; the next owner folds only what came after it."""
    often = AggregateApp(
        "state", shared_state(), dedup_window=0, checkpoint_positions=20, checkpoint_look_s=0.2
    )
    index = partition_for(b"state:n", 2)
    snapshots = snapshots_of(bench.namespace, index)
    async with bench.working(often) as task, session.shared_state("a") as state:
        for n in range(30):
            await state.set("n", n, notify=False)
        await until(
            lambda: last_checkpoint(bench.reader, CODEC, snapshots) is not None,
            "a checkpoint",
            task=task,
        )
    found = last_checkpoint(bench.reader, CODEC, snapshots)
    assert found is not None
    assert (found.streams, found.epoch) == (1, 1)
    with capture_logs() as logs:
        async with bench.working(often), session.shared_state("a") as state:
            assert await state.set("n", 0, expected_version=30, notify=False) == 31
    restored = [one for one in logs if one["event"] == "streams_restored"]
    assert [one["from_position"] >= 20 for one in restored] == [True]
    assert rebuilt(bench) == {"state:n": 31}


async def test_the_command_line_shows_a_stream_as_it_is_and_was(
    bench: Bench, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its state and the events that made it; a version, and a moment before there was any."""
    async with bench.working(app()), session.shared_state("a") as state:
        for n in range(3):
            await state.set("n", n)
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", bench.servers)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", bench.namespace.name)

    def shown(*arguments: str) -> Any:
        return CliRunner().invoke(cli, ["stream", "state:n", *arguments])

    document = json.loads(shown("--json").stdout)
    assert (document["version"], document["state"]["value"]) == (3, "2")
    assert [one["version"] for one in document["events"]] == [1, 2, 3]
    assert json.loads(shown("--json", "--version", "2").stdout)["state"]["value"] == "1"
    assert json.loads(shown("--json", "--whole").stdout)["digest"] == document["digest"]
    pretty = shown().stdout
    assert "version 3" in pretty
    assert "EntrySet" in pretty
    for wrong, error, why in (
        (("--at", "2020-01-01T00:00:00Z"), LogError, "has no events below"),
        (("--version", "9"), LogError, "has 3 events"),
        (("--app", "json:dumps"), ConfigurationError, "neither an Aggregate nor"),
    ):
        failed = shown(*wrong)
        assert isinstance(failed.exception, error), failed
        assert why in str(failed.exception)
    other = CliRunner().invoke(cli, ["stream", "goal"])
    assert "is a stream of no aggregate" in str(other.exception)
