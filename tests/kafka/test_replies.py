"""The reply inbox on real Kafka: what it hears, and that nothing makes it miss something."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from streams.answers import answered
from streams.brokers.embedded import EmbeddedKafka
from streams.envelope import Envelope
from streams.errors import AgentlogError, BrokerError, ClientClosed, LogError, RequestTimeout
from streams.headers import record_headers
from streams.kafka.admin import TopicAdmin
from streams.kafka.configs import MURMUR2
from streams.kafka.replies import REPLIES_READER, ReplyInbox
from streams.requests import json_envelope
from streams.topics import REPLIES, TOPICS, Namespace
from streams.topics.partitioning import partition_for
from tests.asking import CODEC, DEADLINE_S, Place, Reply, until

NAME = "planner-1f"


@pytest.fixture
def place(kafka: str, namespace: str) -> Place:
    return Place(kafka, namespace)


@pytest.fixture
def own_kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as running:
        yield running


@pytest.fixture(autouse=True)
async def _deadline() -> Any:
    async with asyncio.timeout(2 * DEADLINE_S):
        yield


class Heard:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []
        self.lost: AgentlogError | None = None

    def on_reply(self, envelope: Envelope, size: int) -> None:
        assert size > 0
        self.envelopes.append(envelope)

    def on_inbox_lost(self, error: AgentlogError) -> None:
        self.lost = error

    @property
    def data(self) -> list[str | None]:
        return [envelope.payload["data"] for envelope in self.envelopes]


def reply(n: int, to: str = NAME) -> Envelope:
    return answered(json_envelope({}).with_(id="msg-1700000000000-aaaaaaaaa", reply_to=to), n)


def neighbour(partitions: int = 8) -> str:
    """Another inbox on the same partition."""
    mine = partition_for(NAME.encode(), partitions)
    return next(
        name
        for name in (f"other-{n}" for n in range(1000))
        if partition_for(name.encode(), partitions) == mine
    )


def producer(place: Place, **settings: Any) -> Producer:
    return Producer({"bootstrap.servers": place.servers, "partitioner": MURMUR2, **settings})


def produce(to: Producer, place: Place, envelope: Envelope, partition: int = -1) -> None:
    stamped = envelope.with_(id="msg-1700000000001-bbbbbbbbb", sender="weather-1", created_at=1)
    to.produce(
        place.namespace.topic(REPLIES),
        CODEC.encode(stamped),
        (stamped.reply_to or "").encode(),
        headers=record_headers(stamped),  # type: ignore[arg-type]
        partition=partition,
    )


async def test_s3_12_an_inbox_hears_what_is_sent_after_it_opened_and_is_for_it(
    place: Place,
) -> None:
    """In order; not what was there before, not what is for its neighbour on the partition."""
    heard, inbox = Heard(), place.inbox(NAME)
    async with place.publisher("weather-1") as publisher:
        await publisher.publish(reply(-1))
        await inbox.start(heard)
        assert inbox.partitions == {partition_for(NAME.encode(), 8)}
        for n in range(50):
            await publisher.publish(reply(n))
            await publisher.publish(reply(n, neighbour()))
        await until(lambda: len(heard.envelopes) == 50, "all replies")
    await inbox.close()
    await inbox.close()
    assert heard.data == [str(n) for n in range(50)]


async def test_s3_12_an_inbox_hears_only_what_was_committed(place: Place) -> None:
    """Answers of handlers that did not commit were never given."""
    heard, inbox = Heard(), place.inbox(NAME)
    writer = producer(place, **{"transactional.id": place.namespace.name})
    await asyncio.to_thread(writer.init_transactions, 30)
    writer.begin_transaction()
    produce(writer, place, reply(0))
    writer.flush(30)
    await inbox.start(heard)
    produce(writer, place, reply(1))
    await asyncio.to_thread(writer.abort_transaction, 30)
    for n in (2, 3):
        writer.begin_transaction()
        produce(writer, place, reply(n))
        await asyncio.to_thread(writer.commit_transaction, 30)
    await until(lambda: len(heard.envelopes) == 2, "what was committed")
    await inbox.close()
    assert heard.data == ["2", "3"]


async def test_s3_12_what_cannot_be_read_is_counted_and_passed_over(place: Place) -> None:
    """What is for others is not even looked at."""
    heard, inbox = Heard(), place.inbox(NAME)
    await inbox.start(heard)
    writer = producer(place)
    for key in (NAME, neighbour()):
        writer.produce(place.namespace.topic(REPLIES), b"garbage", key)
        writer.produce(place.namespace.topic(REPLIES), None, key)
    produce(writer, place, reply(1))
    assert writer.flush(30) == 0
    await until(lambda: bool(heard.envelopes), "the reply after them")
    await inbox.close()
    assert (inbox.undecodable, heard.data) == (2, ["1"])


async def test_a_missing_topic_is_an_error_that_names_the_command(
    kafka: str, namespace: str
) -> None:
    """And is not created by asking for it."""
    inbox = ReplyInbox(kafka, Namespace(namespace), CODEC, NAME)
    with pytest.raises(LogError, match="agentlog topics apply"):
        await inbox.start(Heard())
    assert TopicAdmin(kafka).topics(Namespace(namespace)) == ()


async def test_no_broker_is_an_error_that_says_so(unused_tcp_port: int) -> None:
    inbox = ReplyInbox(f"127.0.0.1:{unused_tcp_port}", Namespace("none"), CODEC, NAME)
    with pytest.raises(BrokerError, match="no Kafka answers"):
        await inbox.start(Heard())


async def test_an_inbox_follows_a_topic_that_grows(kafka: str, namespace: str) -> None:
    """Its key may be on another partition then; what went there before it looked is heard too."""
    one = msgspec.structs.replace(TOPICS[REPLIES], partitions=1)
    place = Place(kafka, namespace, {REPLIES: one})
    new = partition_for(NAME.encode(), 8)
    assert new != 0
    heard = Heard()
    inbox = place.inbox(NAME, config={**REPLIES_READER, "metadata_max_age_ms": 500})
    await inbox.start(heard)
    writer = producer(place)
    produce(writer, place, reply(1), partition=0)
    assert writer.flush(30) == 0
    admin = TopicAdmin(kafka)
    admin.apply(admin.plan(place.namespace, {REPLIES: TOPICS[REPLIES]}))
    writer = producer(place)
    produce(writer, place, reply(2), partition=new)
    produce(writer, place, reply(3), partition=0)
    assert writer.flush(30) == 0
    await until(lambda: len(heard.envelopes) == 3, "all replies")
    assert inbox.partitions == {0, new}
    await inbox.close()
    assert [data for data in heard.data if data != "2"] == ["1", "3"]


async def echo(request: Envelope, reply: Reply) -> None:
    await reply(answered(request, request.payload["json"]))


def lose(inbox: ReplyInbox) -> None:
    """As if somebody had deleted the topic's records, or had made it anew."""
    assert inbox._consumer is not None
    for part in inbox._consumer.assignment():
        inbox._consumer.seek(part, 1_000_000)


async def test_an_inbox_whose_position_is_gone_says_so_and_is_opened_again(place: Place) -> None:
    """What was answered is not known, so who waits is told; who asks then is answered."""
    async with place.client() as client, place.agent(echo):
        for _ in range(2):
            waiting = asyncio.create_task(client.request("nobody", {}, timeout_s=DEADLINE_S))
            await until(lambda: client.waiting == 1, "it waits")
            lose(client._inbox)
            with pytest.raises(LogError, match="ask again"):
                await waiting
            lost = client._inbox._consumer
            found = await asyncio.gather(*(client.request("weather-1", {"n": n}) for n in range(9)))
            assert [one.data for one in found] == [f'{{"n":{n}}}' for n in range(9)]
            assert client._inbox._consumer is not lost
        assert client.ignored == 0


async def test_an_inbox_that_cannot_be_opened_again_says_why_until_it_can(place: Place) -> None:
    """Each bounded by its own patience, and the one attempt to open it goes on meanwhile."""
    async with place.client() as client, place.agent(echo):
        waiting = asyncio.create_task(client.request("nobody", {}))
        await until(lambda: client.waiting == 1, "it waits")
        lose(client._inbox)
        with pytest.raises(LogError):
            await waiting
        topic, client._inbox._topic = client._inbox._topic, place.namespace.topic("gone")
        with pytest.raises(RequestTimeout):
            await client.request("weather-1", {}, timeout_s=0.001)
        with pytest.raises(LogError, match="agentlog topics apply"):
            await client.request("weather-1", {})
        client._inbox._topic = topic
        assert (await client.request("weather-1", {})).data == "{}"


async def test_a_client_that_closes_opens_nothing_again(place: Place) -> None:
    """Whoever waited for that hears that it is closed."""
    client = place.client()
    async with client:
        client.on_inbox_lost(LogError("lost"))
        asking = asyncio.create_task(client.request("nobody", {}))
        await asyncio.sleep(0)  # its first step
        assert client._reopening is not None
    with pytest.raises(ClientClosed):
        await asking


async def test_an_inbox_whose_fetching_has_ended_says_so(place: Place) -> None:
    """However it ended: whoever waits would otherwise wait for an answer that nobody fetches."""
    heard, inbox = Heard(), place.inbox(NAME)
    await inbox.start(heard)
    assert inbox._consumer is not None
    inbox._consumer._fetcher._fetch_task.cancel()
    await until(lambda: heard.lost is not None, "it is said")
    assert "the client has stopped fetching" in str(heard.lost)
    await inbox.close()


async def test_s3_12_a_broker_that_is_killed_and_started_again_loses_no_answer(
    own_kafka: EmbeddedKafka,
) -> None:
    """The request was sent before, the answer is sent after; timeouts hold meanwhile."""
    place = Place(own_kafka.bootstrap_servers, "outage")
    asked: asyncio.Queue[tuple[Envelope, Reply]] = asyncio.Queue()

    async def keep(request: Envelope, reply: Reply) -> None:
        await asked.put((request, reply))

    async with place.client() as client, place.agent(keep):
        answer = asyncio.create_task(client.request("weather-1", {"n": 1}, timeout_s=DEADLINE_S))
        request, answer_it = await asked.get()
        node = own_kafka.nodes[0]
        os.kill(node.pid, signal.SIGKILL)
        await until(lambda: not node.is_alive, "the broker is gone")
        with pytest.raises(RequestTimeout):
            await client.request("weather-1", {"n": 2}, timeout_s=1)
        assert not answer.done()
        await asyncio.to_thread(node.start)
        await answer_it(answered(request, "after"))
        assert (await answer).data == "after"
