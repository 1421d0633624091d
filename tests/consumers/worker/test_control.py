"""The system lane on real Kafka: cancels are heard at once, history is known before work begins."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewPartitions  # type: ignore[attr-defined]
from hypothesis import given
from hypothesis import strategies as st

from consumers.worker import control as listening
from consumers.worker.cancelled import CancelledIds
from consumers.worker.control import ControlListener
from streams.brokers.embedded import EmbeddedKafka
from streams.control import cancel, drain, report_status
from streams.envelope import Envelope, Kind, Lane
from streams.headers import record_headers
from streams.kafka.admin import TopicAdmin
from streams.kafka.publisher import Publisher
from streams.kafka.schema_topic import SchemaTopic
from streams.schemas import Catalogue, Codec
from streams.schemas.framing import frame
from streams.topics import CONTROL, TOPICS, Namespace
from tests.consumers.worker.harness import until

CODEC = Codec(Catalogue.load())
USED = {name: TOPICS[name] for name in (CONTROL, "schemas")}
RUN_ID = "run-1"
OTHER_RUN = "run-2"


class Heard:
    """A `Controlled` that keeps what it was told."""

    def __init__(self) -> None:
        self.cancels: list[tuple[str, str]] = []
        self.drains: list[tuple[str, str]] = []
        self.reports: list[Envelope] = []
        self.at_s: dict[str, float] = {}
        self.fails_on = ""

    def on_cancel(self, message_id: str, reason: str) -> None:
        if message_id == self.fails_on:
            raise RuntimeError("a fault of ours")
        self.cancels.append((message_id, reason))
        self.at_s[message_id] = time.monotonic()

    def on_drain(self, target: str, reason: str) -> None:
        self.drains.append((target, reason))

    def on_report(self, request: Envelope) -> None:
        self.reports.append(request)

    def has(self, message_id: str) -> Callable[[], bool]:
        return lambda: message_id in self.at_s


def an_id(n: int) -> str:
    return f"msg-{n:013d}-aaaaaaaaa"


@pytest.fixture
def topics(kafka: str, namespace: str) -> Iterator[Namespace]:
    admin, mine = TopicAdmin(kafka), Namespace(namespace)
    admin.provision(mine, USED)
    yield mine
    admin.delete(mine.topics(tuple(USED)))


@pytest.fixture
async def publisher(kafka: str, topics: Namespace) -> AsyncIterator[Publisher]:
    async with Publisher(kafka, topics, CODEC, sender="operator") as opened:
        yield opened


@pytest.fixture
async def listen(kafka: str, namespace: str) -> AsyncIterator[Callable[..., Any]]:
    """Starts a listener of group `<namespace>.fleet`, run `run-1`; all are stopped at the end."""
    mine = Namespace(namespace)
    started: list[ControlListener] = []

    async def start(heard: Heard, servers: str = kafka, **settings: Any) -> ControlListener:
        settings = {"group": mine.group("fleet"), "run_id": RUN_ID} | settings
        namespace_ = settings.pop("namespace", mine)
        codec = settings.pop("codec", CODEC)
        listener = ControlListener(servers, namespace_, codec, heard, **settings)
        started.append(listener)
        async with asyncio.timeout(60):
            await listener.start()
        return listener

    yield start
    for listener in started:
        await listener.stop()


async def test_a_cancel_is_heard_at_once(publisher: Publisher, listen: Callable[..., Any]) -> None:
    heard = Heard()
    await listen(heard)
    for n in range(20):
        began_s = time.monotonic()
        await publisher.publish(cancel(an_id(n), "too late"))
        await until(heard.has(an_id(n)), "the cancel is heard", every_s=0.001)
        assert heard.at_s[an_id(n)] - began_s < 1
    assert heard.cancels == [(an_id(n), "too late") for n in range(20)]


async def test_what_was_cancelled_before_the_start_is_known_when_start_returns(
    publisher: Publisher, listen: Callable[..., Any]
) -> None:
    """A cancel that arrives before its request still wins; one older than the history does not."""
    await publisher.publish_many(cancel(an_id(n)) for n in range(1_000))
    heard = Heard()
    began_s = time.monotonic()
    await listen(heard)
    assert [message_id for message_id, _ in heard.cancels] == [an_id(n) for n in range(1_000)]
    assert time.monotonic() - began_s < listening.CATCH_UP_S_MAX
    forgetful = Heard()
    await listen(forgetful, history_ms=-60_000)  # begins after the end
    assert forgetful.cancels == []
    await publisher.publish(cancel(an_id(5_000)))
    await until(forgetful.has(an_id(5_000)), "what comes later is heard all the same")


async def test_drains_end_only_whom_they_name_and_nobody_younger_than_they_are(
    topics: Namespace, publisher: Publisher, listen: Callable[..., Any]
) -> None:
    fleet = topics.group("fleet")
    await publisher.publish(drain(fleet, "old"))
    await publisher.publish(drain(RUN_ID, "no other run has this id"))
    heard = Heard()
    await listen(heard)
    await publisher.publish(drain(topics.group("another"), "not us"))
    await publisher.publish(drain("fleet", "a logical name is no target"))
    await publisher.publish(drain(OTHER_RUN, "not us"))
    await publisher.publish(drain(fleet, "all of us"))
    await publisher.publish(drain(RUN_ID, "you"))
    await publisher.publish(cancel(an_id(1)))
    await until(heard.has(an_id(1)), "all is heard")
    assert heard.drains == [
        (RUN_ID, "no other run has this id"),
        (fleet, "all of us"),
        (RUN_ID, "you"),
    ]


async def test_status_is_asked_of_a_group_or_of_all_and_only_while_the_asker_waits(
    topics: Namespace, publisher: Publisher, listen: Callable[..., Any]
) -> None:
    await publisher.publish(report_status("inbox-old"))
    heard = Heard()
    await listen(heard)
    await publisher.publish(report_status("inbox-1"))
    await publisher.publish(report_status("inbox-2", topics.group("fleet")))
    await publisher.publish(report_status("inbox-3", topics.group("another")))
    await publisher.publish(report_status("inbox-4").with_(reply_to=None))
    await publisher.publish(cancel(an_id(1)))
    await until(heard.has(an_id(1)), "all is heard")
    assert [request.reply_to for request in heard.reports] == ["inbox-1", "inbox-2"]


async def test_garbage_is_passed_over(
    kafka: str, topics: Namespace, publisher: Publisher, listen: Callable[..., Any]
) -> None:
    """Bytes, tombstones, unknown schemas and types, ids that are none, a fault of our own."""
    heard = Heard()
    heard.fails_on = an_id(7)
    codec = Codec(Catalogue.load(), [SchemaTopic(kafka, topics)])
    await listen(heard, codec=codec)
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    whole = CODEC.encode(
        cancel(an_id(3)).with_(id=an_id(0), sender="s", created_at=1, kind=Kind.COMMAND)
    )
    for value in (
        b"garbage",
        b"",
        None,
        b"\x00\x00\x00\x00\x07unknown schema",
        whole[:-3],
        whole[:20],
        whole + b"more",
    ):
        await producer.send_and_wait(topics.topic(CONTROL), value, key=b"k")
    no_id: Any = [("__value_schema_id", None)]
    await producer.send_and_wait(topics.topic(CONTROL), whole[5:], key=b"k", headers=no_id)
    await producer.stop()
    await publisher.publish(
        Envelope(type="agentlog.Json", payload={"json": "{}"}, lane=Lane.SYSTEM)
    )
    await publisher.publish(cancel("x" * 10_000))
    await publisher.publish(cancel(an_id(7)))
    await publisher.publish(cancel(an_id(8), "y" * 10_000))
    await until(heard.has(an_id(8)), "the lane goes on")
    assert heard.cancels == [(an_id(8), "y" * listening.REASON_CHARS_MAX)]


async def test_a_cancel_of_a_writer_that_only_the_log_knows_is_heard_in_its_place(
    kafka: str, topics: Namespace, publisher: Publisher, listen: Callable[..., Any]
) -> None:
    """A newer deployment's schema: looked up in the `schemas` topic, and nothing overtakes it."""
    written = CODEC.encode(
        cancel(an_id(1)).with_(id=an_id(0), sender="s", created_at=1, kind=Kind.COMMAND)
    )
    text = CODEC.catalogue.type("agentlog.control.Cancel").writer.text
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait(topics.topic("schemas"), text.encode(), key=b"77")
    await producer.send_and_wait(topics.topic(CONTROL), frame(77, written[5:]), key=b"k")
    await producer.stop()
    await publisher.publish(cancel(an_id(2)))
    heard = Heard()
    await listen(heard, codec=Codec(Catalogue.load(), [SchemaTopic(kafka, topics)]))
    assert heard.cancels == [(an_id(1), ""), (an_id(2), "")]


async def test_a_transactions_control_counts_when_it_commits_and_never_if_it_aborts(
    kafka: str, topics: Namespace, listen: Callable[..., Any]
) -> None:
    """Markers and aborted records at the end of the history do not delay the start."""
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topics.name})
    producer.init_transactions(30)

    def send(n: int) -> None:
        envelope = cancel(an_id(n)).with_(
            id=an_id(100 + n), sender="s", created_at=1, kind=Kind.COMMAND
        )
        headers: Any = record_headers(envelope)
        producer.produce(
            topics.topic(CONTROL), CODEC.encode(envelope), b"*", partition=0, headers=headers
        )
        producer.flush(30)

    producer.begin_transaction()
    send(1)
    producer.commit_transaction(30)
    producer.begin_transaction()
    send(2)
    producer.abort_transaction(30)
    heard = Heard()
    began_s = time.monotonic()
    await listen(heard)
    assert heard.cancels == [(an_id(1), "")]
    assert time.monotonic() - began_s < listening.CATCH_UP_S_MAX
    producer.begin_transaction()
    send(3)
    producer.commit_transaction(30)
    await until(heard.has(an_id(3)), "the committed cancel is heard")
    assert heard.cancels == [(an_id(1), ""), (an_id(3), "")]


async def test_a_topic_that_does_not_exist_yet_is_waited_for(
    kafka: str, namespace: str, listen: Callable[..., Any]
) -> None:
    """Starting does not wait for it; all that it will ever hold counts."""
    heard, mine = Heard(), Namespace(namespace)
    began_s = time.monotonic()
    await listen(heard)
    assert time.monotonic() - began_s < listening.CATCH_UP_S_MAX
    TopicAdmin(kafka).provision(mine, USED)
    async with Publisher(kafka, mine, CODEC, sender="operator") as publisher:
        await publisher.publish(drain(mine.group("fleet"), "young"))
        await publisher.publish(cancel(an_id(1)))
        await until(heard.has(an_id(1)), "the new topic is heard")
    assert heard.drains == [(mine.group("fleet"), "young")]
    TopicAdmin(kafka).delete(mine.topics(tuple(USED)))


async def test_partitions_that_control_is_given_are_heard_too(
    kafka: str, topics: Namespace, listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "FOLLOW_S", 0.2)  # instead of 30 s
    heard = Heard()
    await listen(heard)
    admin = AdminClient({"bootstrap.servers": kafka})
    grown = admin.create_partitions([NewPartitions(topics.topic(CONTROL), 3)])
    for future in grown.values():
        await asyncio.to_thread(future.result, 30)
    async with Publisher(kafka, topics, CODEC, sender="operator") as publisher:
        everybody = [cancel(an_id(n)).with_(session_id=f"s{n}") for n in range(30)]
        placed = await publisher.publish_many(everybody)
    assert {one.partition for one in placed} == {0, 1, 2}
    await until(lambda: len(heard.cancels) == 30, "every partition is heard")
    assert {message_id for message_id, _ in heard.cancels} == {an_id(n) for n in range(30)}


async def test_a_topic_that_is_made_anew_is_heard_from_its_beginning(
    kafka: str, topics: Namespace, listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "FOLLOW_S", 0.2)  # instead of 30 s
    heard, admin = Heard(), TopicAdmin(kafka)
    async with Publisher(kafka, topics, CODEC, sender="operator") as publisher:
        await publisher.publish_many(cancel(an_id(n)) for n in range(3))
    listener = await listen(heard)
    assert len(heard.cancels) == 3
    admin.delete([topics.topic(CONTROL)])
    await until(lambda: listener._places._absent, "the topic is missed")
    admin.provision(topics, USED)
    async with Publisher(kafka, topics, CODEC, sender="operator") as publisher:
        await publisher.publish(drain(topics.group("fleet"), "young"))
        await publisher.publish_many(cancel(an_id(n)) for n in range(3, 6))
    await until(heard.has(an_id(5)), "the new topic is heard")
    assert heard.cancels == [(an_id(n), "") for n in range(6)]
    assert heard.drains == [(topics.group("fleet"), "young")]


async def test_an_outage_is_survived_and_nothing_is_missed_or_repeated(
    listen: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGSTOP, as a partition would look."""
    monkeypatch.setattr(listening, "FOLLOW_S", 0.2)  # instead of 30 s
    heard, mine = Heard(), Namespace("outage")
    with EmbeddedKafka() as own:
        TopicAdmin(own.bootstrap_servers).provision(mine, USED)
        listener = await listen(heard, own.bootstrap_servers, namespace=mine, catch_up_s_max=5)
        async with Publisher(own.bootstrap_servers, mine, CODEC, sender="operator") as publisher:
            await publisher.publish(cancel(an_id(1)))
            await until(heard.has(an_id(1)), "the first is heard")
            pid = own.state.processes[0].pid
            os.kill(pid, signal.SIGSTOP)
            try:
                await until(lambda: not listener._in_touch, "the silence is noticed")
            finally:
                os.kill(pid, signal.SIGCONT)
            await publisher.publish(cancel(an_id(2)))
            await until(heard.has(an_id(2)), "it listens again")
        assert heard.cancels == [(an_id(1), ""), (an_id(2), "")]
        await listener.stop()


async def test_without_a_broker_work_begins_all_the_same(listen: Callable[..., Any]) -> None:
    """A listener that cannot hear says so, and does not keep its worker from starting."""
    began_s = time.monotonic()
    listener = await listen(Heard(), "127.0.0.1:1", catch_up_s_max=0.5)
    assert time.monotonic() - began_s < 10
    await listener.stop()
    await listener.stop()


@given(st.lists(st.tuples(st.integers(0, 12), st.text(max_size=3))), st.integers(1, 8))
def test_cancelled_ids_are_the_latest_so_many(adds: list[tuple[int, str]], bound: int) -> None:
    """Exactly the last distinct ids are known, each by its last reason, oldest forgotten first."""
    cancelled = CancelledIds(bound)
    for n, reason in adds:
        cancelled.add(an_id(n), reason)
        assert cancelled.reason(an_id(n)) == reason
    last_added = {n: index for index, (n, _) in enumerate(adds)}
    kept = sorted(last_added, key=lambda n: -last_added[n])[:bound]
    assert len(cancelled) == len(kept)
    for n in range(13):
        expected = adds[last_added[n]][1] if n in kept else None
        assert cancelled.reason(an_id(n)) == expected
