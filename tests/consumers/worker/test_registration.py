"""Fleets on real Kafka: workers register their agents, publishers look (S5.6)."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any

import pytest

from consumers.app import App
from consumers.context import Context
from consumers.dead_letters import SOURCES, DeadLetters, Done, Redrive, Wanted, plan
from consumers.outbox import Outbox as WorkerOutbox
from consumers.worker.ports import Committed, Transaction
from consumers.worker.registration import ATTEMPTS_MAX, Registration
from consumers.worker.transactions import KafkaTransactions
from streams.dead_letters import REDRIVEN
from streams.envelope import Envelope, Kind
from streams.errors import BrokerError
from streams.fleets import FLEET_REGISTERED, Fleet
from streams.kafka.publisher import Publisher
from streams.kafka.registry import Registry
from streams.outgoing import Outbox
from streams.ports import SystemClock
from streams.topics import EVENTS, INBOX, REGISTRY, SCHEMAS, dlq
from tests.consumers.worker.harness import CODEC, Bench, until

JSON = "agentlog.Json"


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


def fleet(name: str = "fleet", agents: tuple[str, ...] = ("reviewer-*", "planner")) -> App:
    return App(name, topics=(INBOX,), agents=agents)


def registration(bench: Bench, name: str = "fleet") -> Registration:
    outbox = WorkerOutbox(CODEC, bench.namespace, SystemClock(), app_name=name)
    return Registration(bench.servers, bench.namespace, CODEC, outbox)


def notice(*recipients: str) -> Envelope:
    return Envelope(
        type=JSON, kind=Kind.NOTIFICATION, recipients=recipients, payload={"json": "{}"}
    )


def publisher(bench: Bench) -> Publisher:
    registry = Registry(bench.servers, bench.namespace, CODEC)
    return Publisher(bench.servers, bench.namespace, CODEC, sender="boss", registry=registry)


def redrive_all(bench: Bench) -> Done:
    """What `agentlog dlq redrive --all-open` does."""
    letters = DeadLetters(bench.reader, CODEC, bench.namespace)
    spans = letters.spans(SOURCES, None, None, time.time_ns() // 1_000_000)
    todo = plan(letters.find(spans, Wanted(error="Unroutable")), again=False, limit=None)
    outbox = Outbox(
        CODEC,
        sender="operator:me",
        clock=SystemClock(),
        rng=random.Random(7),
        record_bytes_max=1_000_000,
        namespace=bench.namespace,
    )
    redrive = Redrive(
        bench.servers,
        bench.namespace,
        CODEC.catalogue,
        bench.reader,
        letters,
        outbox,
        action=REDRIVEN,
        note="",
        run_id="run-1",
    )
    return redrive.run(todo)


async def test_s5_06_a_letter_to_nobody_reaches_who_registers_later(bench: Bench) -> None:
    """The whole way: dead at once, the fleet comes up, the redrive finds it, each agent once."""
    app = fleet()
    handled: list[str] = []

    @app.on(JSON)
    async def on_json(ctx: Context, payload: Mapping[str, Any]) -> None:
        handled.append(ctx.agent)

    letters = bench.namespace.topic(dlq(INBOX))
    async with publisher(bench) as opened:
        early = await opened.publish(notice("planner", "reviewer-7"))
        assert {early.topic, *(copy.topic for copy in early.copies)} == {letters}
        async with bench.working(app) as task:
            registry = opened._registry
            assert registry is not None
            await until(lambda: registry.knows("planner"), "registered", task=task)
            late = await opened.publish(notice("planner"))
            assert late.topic == bench.namespace.topic(INBOX)
            assert await asyncio.to_thread(redrive_all, bench) == Done(resolved=2)
            await until(lambda: len(handled) == 3, "all handled", task=task)
            await until(lambda: bench.caught_up("fleet", INBOX), "all committed", task=task)
        assert sorted(handled) == ["planner", "planner", "reviewer-7"]
        # Fleet down: positions wait.
        waits = await opened.publish(notice("reviewer-8"))
        assert waits.topic == bench.namespace.topic(INBOX)
    assert bench.journal_exceptions() == []
    assert await asyncio.to_thread(redrive_all, bench) == Done()


async def test_s5_06_a_fleet_registers_once_until_it_says_otherwise(bench: Bench) -> None:
    """The event and the registry's record are the same bytes, and of one transaction."""
    for run in ("run-1", "run-2"):
        async with bench.working(fleet(), run_id=run) as task:
            await until(lambda: bool(bench.records(REGISTRY)), "registered", task=task)
    (event,) = bench.records(EVENTS)
    (latest,) = bench.records(REGISTRY)
    group = bench.namespace.group("fleet")
    assert latest.key == group.encode()
    assert (latest.value, latest.headers) == (event.value, event.headers)
    envelope = CODEC.decode(event.value, event.headers)
    assert (envelope.kind, envelope.sender, envelope.writer) == (Kind.EVENT, "fleet", None)
    assert Fleet.read(envelope) == Fleet(
        group=group, agents=("planner", "reviewer-*"), topics=(bench.namespace.topic(INBOX),)
    )
    schema_id = b"%d" % CODEC.catalogue.type(FLEET_REGISTERED).schema_id
    # Once more in the worker's own first commit, if it came to one before it was stopped.
    assert {record.key for record in bench.records(SCHEMAS)} == {schema_id}
    announced = [
        await registration(bench).announce(app, f"run-{n}")
        for n, app in enumerate((fleet(), fleet(agents=("planner",)), fleet(agents=()), fleet()), 3)
    ]
    assert announced == [False, True, False, True]
    assert len(bench.records(EVENTS)) == len(bench.records(REGISTRY)) == 3


async def test_s5_06_an_app_without_agents_registers_nothing(bench: Bench) -> None:
    app = fleet(agents=())

    @app.on(JSON)
    async def on_json(ctx: Context, payload: Mapping[str, Any]) -> None: ...

    async with publisher(bench) as opened:
        await opened.publish(notice("planner"))
    assert await asyncio.to_thread(redrive_all, bench) == Done(resolved=1)
    events = len(bench.records(EVENTS))
    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet", INBOX), "handled", task=task)
    assert (len(bench.records(REGISTRY)), len(bench.records(EVENTS))) == (0, events)


async def test_s5_06_fleets_that_register_side_by_side_are_all_known(bench: Bench) -> None:
    await asyncio.gather(
        *(
            registration(bench, f"f{n}").announce(fleet(f"f{n}", (f"agent-{n}",)), "run")
            for n in range(5)
        )
    )
    registry = Registry(bench.servers, bench.namespace, CODEC)
    await registry.start()
    await registry.close()
    assert [registry.knows(f"agent-{n}") for n in range(6)] == [True] * 5 + [False]


async def test_s5_06_a_commit_whose_end_is_not_known_is_not_made_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry tells; an aborted one is tried again, and not for ever."""
    commit = KafkaTransactions.commit
    answers = [Committed.NO, Committed.UNKNOWN]

    async def answered(self: KafkaTransactions, transaction: Transaction) -> Committed:
        answer = answers.pop(0)
        if answer is not Committed.NO:
            assert await commit(self, transaction) is Committed.YES
        return answer

    monkeypatch.setattr(KafkaTransactions, "commit", answered)
    monkeypatch.setattr("consumers.worker.registration.RETRY_S", 0)
    assert await registration(bench).announce(fleet(), "run-1")
    assert len(bench.records(REGISTRY)) == 1
    answers[:] = [Committed.NO] * ATTEMPTS_MAX
    with pytest.raises(BrokerError, match="does not take the registration of"):
        await registration(bench).announce(fleet(agents=("other",)), "run-2")


async def test_s5_06_what_is_no_registration_is_overwritten(bench: Bench) -> None:
    """Anybody may write to the log."""
    with bench.raw_producer() as producer:
        group = bench.namespace.group("fleet")
        producer.produce(bench.namespace.topic(REGISTRY), b"junk", group)
    assert await registration(bench).announce(fleet(), "run-1")
    assert not await registration(bench).announce(fleet(), "run-2")
