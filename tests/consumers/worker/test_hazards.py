"""Hazards of clients and groups (H2, H9): shown on real Kafka, and that we keep clear of them."""

from __future__ import annotations

import ast
import asyncio
import importlib.metadata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import confluent_kafka
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.structs import OffsetAndMetadata
from confluent_kafka.admin import AdminClient

import consumers
import streams
from consumers.app import App
from consumers.context import Context
from consumers.marks import Mark
from consumers.worker.ports import Committed, Transaction
from consumers.worker.source import CONFIG, KafkaSource
from consumers.worker.transactions import KafkaTransactions
from streams.kafka.publisher import Publisher
from streams.kafka.registry import Registry
from streams.kafka.tail import tail
from streams.ranges import Span
from streams.topics import EVENTS, INBOX, TASKS
from tests.asking import Place
from tests.consumers.worker.harness import ASSIGN, CODEC, Bench, assign_task, status, until

OFFSET_COMMIT, JOIN, HEARTBEAT, SYNC = 8, 11, 12, 14
ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSET_COMMIT = 24, 25, 26, 28
OF_GROUPS: Final = frozenset(
    {
        *(OFFSET_COMMIT, JOIN, HEARTBEAT, SYNC),
        *(ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSET_COMMIT),
    }
)
"""Kafka's API keys of what speaks for a group, or in a transaction."""
PRODUCE, FETCH = 0, 1

SETTINGS: Final = frozenset({"group_id", "group_instance_id", "transactional_id"})
CALLS: Final = frozenset(
    {
        *("subscribe", "commit", "send_offsets_to_transaction", "transaction"),
        *("begin_transaction", "commit_transaction", "abort_transaction"),
    }
)


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


# --- H2 ------------------------------------------------------------------------------------------


def modules_with_aiokafka() -> Iterator[tuple[Path, ast.Module]]:
    for package in (streams, consumers):
        (folder,) = package.__path__
        for path in sorted(Path(folder).rglob("*.py")):
            tree = ast.parse(path.read_text())
            names = {
                name
                for node in ast.walk(tree)
                for name in (
                    [node.module or ""]
                    if isinstance(node, ast.ImportFrom)
                    else [one.name for one in node.names]
                    if isinstance(node, ast.Import)
                    else []
                )
            }
            if any(name.split(".")[0] == "aiokafka" for name in names):
                yield path, tree


def speaks_for_a_group(tree: ast.Module) -> list[str]:
    """What in a module would make an aiokafka client a member, or let it commit."""
    found = []
    for node in ast.walk(tree):
        settings: list[tuple[str | None, ast.expr]] = []
        if isinstance(node, ast.Call):
            settings = [(one.arg, one.value) for one in node.keywords]
            if isinstance(node.func, ast.Attribute) and node.func.attr in CALLS:
                found.append(f"line {node.lineno}: .{node.func.attr}()")
        elif isinstance(node, ast.Dict):
            settings = [
                (key.value, value)
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant) and isinstance(key.value, str)
            ]
        for name, value in settings:
            none = isinstance(value, ast.Constant) and not value.value
            if (name in SETTINGS or name == "enable_auto_commit") and not none:
                found.append(f"line {value.lineno}: {name}")
    return found


def test_h02_no_module_makes_an_aiokafka_client_speak_for_a_group() -> None:
    """No group, no transactional id, no commit, no subscription: readers read by assignment."""
    modules = dict(modules_with_aiokafka())
    assert {path.stem for path in modules} >= {"publisher", "tail", "replies", "compacted"}
    assert {path.name: speaks_for_a_group(tree) for path, tree in modules.items()} == {
        path.name: [] for path in modules
    }


@pytest.mark.parametrize(
    "text",
    [
        "AIOKafkaConsumer('t', group_id='g')",
        "AIOKafkaProducer(**{'transactional_id': f'{x}'})",
        "consumer.subscribe(['t'])",
        "await consumer.commit()",
        "AIOKafkaConsumer(enable_auto_commit=True)",
    ],
)
def test_h02_and_it_would_be_noticed_if_one_did(text: str) -> None:
    """The look at the code finds each way."""
    assert speaks_for_a_group(ast.parse(text, mode="exec"))


async def test_h02_whatever_runs_aiokafka_asks_no_broker_for_a_group(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publisher, registry, live tail, client, and a worker that sends, asks and streams at once."""
    asked: set[int] = set()
    send = AIOKafkaConnection.send

    def noting(self: AIOKafkaConnection, request: Any, *rest: Any, **named: Any) -> Any:
        if self._versions is not None:
            asked.add(request.prepare(self._versions).API_KEY)
        return send(self, request, *rest, **named)

    monkeypatch.setattr(AIOKafkaConnection, "send", noting)
    app = App("agents", topics=(INBOX,), agents=("planner", "weather"))

    @app.on("agentlog.Json")
    async def on_request(ctx: Context, _payload: Mapping[str, Any]) -> None:
        if ctx.agent == "weather":
            await ctx.respond({"celsius": 21})
            return
        answer = await ctx.request("weather", {"city": "Basel"}, timeout_s=50)
        await ctx.send_now(status("asked", "s"))
        async with ctx.stream() as stream:
            await stream.send(answer.data)

    place = Place(bench.servers, bench.namespace.name)
    registry = Registry(bench.servers, bench.namespace, CODEC)
    publisher = Publisher(bench.servers, bench.namespace, CODEC, sender="boss", registry=registry)
    async with bench.working(app), publisher, place.client("boss") as client:
        await until(lambda: registry.knows("planner"), "the fleet is known")
        pieces = [piece async for piece in client.stream("planner", {"day": 1}, timeout_s=50)]
        assert pieces == [{"celsius": 21}]
        await publisher.publish(status("said", "s"))
    ends = bench.reader.ends([bench.namespace.topic(EVENTS)])
    spans = {source: Span(0, end) for source, end in ends}
    assert len([one async for one in tail(bench.servers, CODEC, spans)]) >= 2
    assert asked >= {PRODUCE, FETCH}
    assert not asked & OF_GROUPS


async def test_h02_the_broker_takes_positions_from_aiokafka_for_a_group_of_others(
    bench: Bench,
) -> None:
    """The hazard itself: it names no member, so nothing shows that it is none.

    If this fails, the client or the broker has learnt to tell, and H2 can be told otherwise.
    """
    app = App("fleet", topics=(TASKS,))

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        raise AssertionError("there is no task")

    group = bench.namespace.group("fleet")
    async with bench.working(app) as task:
        await until(lambda: len(bench.positions("fleet")) == 8, "all are opened", task=task)
        zombie = AIOKafkaProducer(
            bootstrap_servers=bench.servers,
            transactional_id=bench.namespace.transactional_id("fleet", "zombie"),
        )
        await zombie.start()
        try:
            topic = bench.namespace.topic(TASKS)
            async with asyncio.timeout(30), zombie.transaction():
                await zombie.send_offsets_to_transaction(
                    {AioPartition(topic, 0): OffsetAndMetadata(7, "")}, group
                )
        finally:
            await zombie.stop()
        assert 7 in bench.positions("fleet").values()


# --- H9 ------------------------------------------------------------------------------------------


def test_h09_the_client_is_one_that_rejoins_after_it_polled_too_late() -> None:
    """librdkafka 2.15 or newer, required and there; and nobody asks for a classic group."""
    assert [int(part) for part in confluent_kafka.libversion()[0].split(".")] >= [2, 15]
    (wanted,) = (
        one
        for one in importlib.metadata.requires("agentlog") or []
        if one.startswith("confluent-kafka") and "extra" not in one
    )
    floor = wanted.partition(">=")[2].split(",")[0].split(".")
    assert [int(part) for part in floor] >= [2, 15]
    assert CONFIG["group.protocol"] == "consumer"


async def test_h09_members_have_no_static_ids(bench: Bench) -> None:
    """Two workers of one deployment are two members: neither fences the other."""

    def app() -> App:
        made = App("fleet", topics=(TASKS,))
        made.on(ASSIGN)(_nothing)
        return made

    admin = AdminClient({"bootstrap.servers": bench.servers})
    group = bench.namespace.group("fleet")

    def members() -> list[Any]:
        return list(admin.describe_consumer_groups([group])[group].result(30).members)

    async with bench.working(app()) as one, bench.working(app()) as other:
        await until(lambda: len(members()) == 2, "both are members", task=one, every_s=0.1)
        assert [member.group_instance_id for member in members()] == [None, None]
        assert not other.done()
    assert "group.instance.id" not in CONFIG


async def _nothing(_ctx: Context, _payload: Mapping[str, Any]) -> None:
    """A handler."""


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
async def test_h09_a_handler_slower_than_the_poll_interval_keeps_its_partition(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, delivery: Any
) -> None:
    """The window is full, its partitions are paused, the client is polled all the same.

    Were it not, the client would leave the group after `max.poll.interval.ms`, and the record
    would be run a second time.
    """
    monkeypatch.setattr(
        "consumers.worker.source.CONFIG",
        {**CONFIG, "max.poll.interval.ms": 1_500},
    )
    app = App("fleet", topics=(TASKS,), in_flight_max=2, delivery=delivery)
    ran: list[str] = []
    lost: list[Any] = []
    on_lost = KafkaSource._on_lost

    def noting(source: KafkaSource, consumer: Any, partitions: list[Any]) -> None:
        lost.append(partitions)
        on_lost(source, consumer, partitions)

    monkeypatch.setattr(KafkaSource, "_on_lost", noting)

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, payload: Mapping[str, Any]) -> None:
        if not ran:
            await asyncio.sleep(4.0)  # beyond the interval, with room for a rejoin
        ran.append(payload["task"]["id"])

    bench.send(assign_task(n, "k") for n in range(12))
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
        assert lost == []
    assert ran == [f"t{n}" for n in range(12)]


async def test_h09_while_nothing_can_be_committed_fetching_ends_at_the_bound(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the coordinator is away: at most `in_flight_max` records beyond what is committed."""
    gate = asyncio.Event()
    commit = KafkaTransactions.commit
    sources: list[KafkaSource] = []
    wait_for_room: Callable[[KafkaSource], None] = KafkaSource._wait_for_room

    async def waits(self: KafkaTransactions, transaction: Transaction) -> Committed:
        if any(mark.position or mark.finished for mark in _marks(transaction)):
            await gate.wait()
        return await commit(self, transaction)

    def noting(source: KafkaSource) -> None:
        wait_for_room(source)
        if source._paused and not sources:
            sources.append(source)

    monkeypatch.setattr("consumers.worker.source.PATIENCE_S", 0.05)
    monkeypatch.setattr(KafkaTransactions, "commit", waits)
    monkeypatch.setattr(KafkaSource, "_wait_for_room", noting)
    app = App("fleet", topics=(TASKS,), in_flight_max=20, commit_linger_ms=0)
    ran: list[str] = []

    @app.on(ASSIGN)
    async def on_assign_task(_ctx: Context, payload: Mapping[str, Any]) -> None:
        ran.append(payload["task"]["id"])

    bench.send(assign_task(n, f"key-{n}") for n in range(200))
    async with bench.working(app) as task:
        try:
            await until(lambda: bool(sources), "its partitions are paused", task=task)
            await until(lambda: len(ran) == 20, "all that it may hold has run", task=task)
            assert set(bench.positions("fleet").values()) == {0}
            assert len(ran) == 20
        finally:
            gate.set()
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    assert sorted(ran) == sorted(f"t{n}" for n in range(200))


def _marks(transaction: Transaction) -> list[Mark]:
    return [mark for _, positions in transaction.positions for mark in positions.values()]
