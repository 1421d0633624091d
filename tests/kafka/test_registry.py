"""The registry on real Kafka: a publisher that knows whom nobody runs (S5.6)."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from streams.brokers.embedded import EmbeddedKafka
from streams.dead_letters import DeadLetter
from streams.envelope import Envelope, Kind
from streams.errors import BrokerError, LogError, Unroutable
from streams.fleets import Fleet
from streams.kafka.admin import TopicAdmin
from streams.kafka.positioned import open_at
from streams.kafka.publisher import Publisher
from streams.kafka.reader import KafkaLogReader
from streams.kafka.registry import Registry
from streams.ports import SystemClock
from streams.record import Record
from streams.session import session_on
from streams.settings import Settings
from streams.topics import EVENTS, INBOX, REGISTRY, SCHEMAS, TASKS, TOPICS, Namespace, dlq
from tests.asking import CODEC, until

USED = {name: TOPICS[name] for name in (INBOX, dlq(INBOX), TASKS, EVENTS, REGISTRY, SCHEMAS)}


@pytest.fixture
def topics(kafka: str, namespace: str) -> Iterator[Namespace]:
    admin, mine = TopicAdmin(kafka), Namespace(namespace)
    admin.provision(mine, USED)
    yield mine
    admin.delete(mine.topics(tuple(USED)))


def notice(*recipients: str, **fields: Any) -> Envelope:
    return Envelope(
        type="agentlog.Json",
        kind=Kind.NOTIFICATION,
        recipients=recipients,
        payload={"json": "{}"},
        **fields,
    )


async def register(kafka: str, topics: Namespace, group: str, *agents: str) -> None:
    """Put a group's registration where publishers look; without agents: a tombstone."""
    event = Fleet(group=group, agents=agents, topics=()).registered()
    value = CODEC.encode(
        event.with_(
            id="msg-1700000000000-aaaaaaaaa",
            kind=Kind.EVENT,
            sender=group,
            created_at=SystemClock().now_us(),
        )
    )
    await put(kafka, topics, group, value if agents else None)


async def put(kafka: str, topics: Namespace, group: str, value: bytes | None) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait(topics.topic(REGISTRY), value, group.encode())
    await producer.stop()


def records(kafka: str, topics: Namespace, logical: str) -> list[Record]:
    with KafkaLogReader(kafka) as reader:
        return [
            record
            for source, end in reader.ends([topics.topic(logical)])
            for batch in reader.read(source, 0, end)
            for record in batch
        ]


async def test_s5_06_what_is_for_nobody_is_a_dead_letter_and_the_others_get_theirs(
    kafka: str, topics: Namespace
) -> None:
    """`Published` says so by its topics, in the recipients' order; the letter says why."""
    await register(kafka, topics, "ns.fleet", "planner", "reviewer-*")
    registry = Registry(kafka, topics, CODEC)
    async with Publisher(kafka, topics, CODEC, sender="boss", registry=registry) as publisher:
        mixed = await publisher.publish(notice("planner", "ghost", "reviewer-7", "planner"))
        known, stranger = await publisher.publish_many([notice("planner"), notice("shade")])
        task = await publisher.publish(
            notice("ghost", correlation_id="c").with_(kind=Kind.TASK_ASSIGNMENT)
        )
    inbox, letters = topics.topic(INBOX), topics.topic(dlq(INBOX))
    assert [mixed.topic, *(copy.topic for copy in mixed.copies)] == [inbox, letters, inbox]
    assert (known.topic, stranger.topic) == (inbox, letters)
    assert task.topic == topics.topic(TASKS), "only an inbox is somebody's"
    got = sorted((record.key or b"").decode() for record in records(kafka, topics, INBOX))
    assert got == ["planner", "planner", "reviewer-7"]
    first, second = records(kafka, topics, dlq(INBOX))
    letter = DeadLetter.from_record(first)
    assert (first.key, second.key) == (b"ghost", b"shade")
    assert CODEC.decode(first.value, first.headers).id == mixed.id
    assert (letter.topic, letter.partition, letter.position) == (inbox, -1, -1)
    assert (letter.group, letter.handlers, letter.attempts) == ("", (), 0)
    assert letter.error_name == Unroutable.__name__
    assert letter.error_message == (
        "no fleet has registered ghost; start one that runs it, then redrive"
    )
    assert dict(letter.context) == {"agent": "ghost", "sender": "boss"}
    assert letter.failed_at_ms == pytest.approx(SystemClock().now_us() // 1000, abs=60_000)
    (same,) = [record for record in records(kafka, topics, INBOX) if record.key == b"reviewer-7"]
    assert same.value == first.value
    assert not any(name.startswith("dlq_") for name, _ in same.headers)


async def test_s5_06_without_the_option_an_inbox_waits_for_whoever_comes(
    kafka: str, namespace: str, topics: Namespace
) -> None:
    """As ever: a session's publisher looks at the registry only if it is told to."""
    session = session_on(kafka, Settings(namespace=namespace))
    async with session.publisher("boss") as publisher:
        assert (await publisher.publish(notice("ghost"))).topic == topics.topic(INBOX)
    async with session.publisher("boss", registered_only=True) as publisher:
        assert (await publisher.publish(notice("ghost"))).topic == topics.topic(dlq(INBOX))


async def test_s5_06_a_registry_is_followed(kafka: str, topics: Namespace) -> None:
    """Who registers, registers otherwise or is taken out while it is open is heard."""
    await register(kafka, topics, "ns.a", "planner")
    await put(kafka, topics, "ns.b", b"junk")
    registry = Registry(kafka, topics, CODEC)
    await registry.start()
    try:
        assert registry.knows("planner"), "what is there counts from the first moment"
        assert registry.unreadable == 1
        await register(kafka, topics, "ns.c", "x-*")
        await until(lambda: registry.knows("x-1"), "a new group")
        await register(kafka, topics, "ns.a", "drafter")
        await until(lambda: registry.knows("drafter"), "a group that runs others now")
        assert not registry.knows("planner")
        await register(kafka, topics, "ns.a")
        await until(lambda: not registry.knows("drafter"), "a group that was taken out")
        assert registry.knows("x-1")
    finally:
        await registry.close()
        await registry.close()


async def test_s5_06_a_reader_that_cannot_go_on_is_replaced(
    kafka: str, topics: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was heard holds meanwhile; the next reader begins anew and drops nothing."""
    monkeypatch.setattr("streams.kafka.compacted.RETRY_S", 0.1)
    await register(kafka, topics, "ns.a", "planner")
    opened: list[Any] = []

    async def noted(*arguments: Any) -> Any:
        opened.append(await open_at(*arguments))
        return opened[-1]

    monkeypatch.setattr("streams.kafka.compacted.open_at", noted)
    registry = Registry(kafka, topics, CODEC)
    await registry.start()
    try:
        fetching = opened[0]._fetcher._fetch_task
        fetching.cancel()
        await asyncio.wait({fetching})
        await register(kafka, topics, "ns.c", "x-*")
        await until(lambda: registry.knows("x-1"), "what was registered after its reader broke")
        assert len(opened) >= 2
        assert registry.knows("planner")
    finally:
        await registry.close()


async def test_s5_06_a_registration_that_was_aborted_never_was(
    kafka: str, topics: Namespace
) -> None:
    """Read committed, past the marker that it left behind."""
    topic = topics.topic(REGISTRY)
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka, transactional_id=f"{topics.name}.x", transaction_timeout_ms=10_000
    )
    await register(kafka, topics, "ns.a", "planner")
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(topic, None, b"ns.a")
    registry = Registry(kafka, topics, CODEC)
    starting = asyncio.create_task(registry.start())
    await producer.abort_transaction()
    await producer.stop()
    await asyncio.wait_for(starting, 60)
    try:
        assert registry.knows("planner")
    finally:
        await registry.close()


async def test_s5_06_a_broker_that_is_killed_and_started_again_is_heard_again() -> None:
    """What was heard holds meanwhile; who registers afterwards is known."""
    with EmbeddedKafka() as own:
        servers, mine = own.bootstrap_servers, Namespace("outage")
        TopicAdmin(servers).provision(mine, {REGISTRY: TOPICS[REGISTRY]})
        await register(servers, mine, "ns.a", "planner")
        registry = Registry(servers, mine, CODEC)
        await registry.start()
        try:
            node = own.nodes[0]
            os.kill(node.pid, signal.SIGKILL)
            await until(lambda: not node.is_alive, "the broker is gone")
            assert registry.knows("planner")
            await asyncio.to_thread(node.start)
            await register(servers, mine, "ns.b", "x-*")
            await until(lambda: registry.knows("x-1"), "who registered after the outage")
            assert registry.knows("planner")
            os.kill(node.pid, signal.SIGKILL)
            await until(lambda: not node.is_alive, "the broker is gone for good")
        finally:
            async with asyncio.timeout(30):
                await registry.close()


async def test_a_registry_needs_its_topic_and_a_broker(kafka: str, namespace: str) -> None:
    """And a publisher that cannot have one does not open."""
    with pytest.raises(LogError, match=r"registry does not exist; run `agentlog topics apply`"):
        await Registry(kafka, Namespace(namespace), CODEC).start()
    registry = Registry(kafka, Namespace(namespace), CODEC)
    publisher = Publisher(kafka, Namespace(namespace), CODEC, registry=registry)
    with pytest.raises(LogError):
        await publisher.start()
    await publisher.close()
    with pytest.raises(BrokerError, match="no Kafka answers"):
        await Registry("127.0.0.1:1", Namespace(namespace), CODEC).start()
