"""The publisher on real Kafka: what is acknowledged is there, what is refused is not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import KafkaError, Message, Producer
from hypothesis import given
from hypothesis import strategies as st

from streams.envelope import Envelope, Kind
from streams.errors import (
    BrokerError,
    EnvelopeTooLarge,
    InvalidEnvelope,
    InvalidPayload,
    PublishError,
    UnknownType,
    Unroutable,
)
from streams.headers import read_headers
from streams.identity import is_message_id
from streams.kafka.admin import TopicAdmin
from streams.kafka.configs import MURMUR2
from streams.kafka.publisher import Placement, Published, Publisher
from streams.kafka.reader import KafkaLogReader
from streams.kafka.schema_topic import SchemaTopic
from streams.record import Record
from streams.schemas import Catalogue, Codec
from streams.topics import TOPICS, Namespace
from streams.topics.partitioning import murmur2, partition_for

CODEC = Codec(Catalogue.load())
USED = ("tasks", "inbox", "schemas")
NOW_US = 1_767_225_600_000_000


class FixedClock:
    def now_us(self) -> int:
        return NOW_US


@pytest.fixture
def topics(kafka: str, namespace: str) -> Iterator[Namespace]:
    admin, mine = TopicAdmin(kafka), Namespace(namespace)
    admin.provision(mine, {name: TOPICS[name] for name in USED})
    yield mine
    admin.delete(mine.topics(USED))


@pytest.fixture
async def publisher(kafka: str, topics: Namespace) -> AsyncIterator[Publisher]:
    async with Publisher(
        kafka, topics, CODEC, sender="agent-1", clock=FixedClock(), rng=random.Random(7)
    ) as opened:
        yield opened


def request(*recipients: str, text: str = "{}", **fields: Any) -> Envelope:
    return Envelope(
        type="agentlog.Json",
        payload={"json": text},
        kind=Kind.REQUEST,
        recipients=recipients,
        **fields,
    )


def task(correlation_id: str, n: int = 0, **fields: Any) -> Envelope:
    return Envelope(
        type="agentlog.task.AssignTask",
        correlation_id=correlation_id,
        payload={"task": {"id": f"{correlation_id}/{n}", "type": "change"}},
        **fields,
    )


def records(kafka: str, topics: Namespace, topic: str) -> list[Record]:
    name = topics.topic(topic)
    with KafkaLogReader(kafka) as reader:
        starts = reader.starts([name])
        return [
            record
            for part, end in reader.ends([name])
            for batch in reader.read(part, starts[part], end)
            for record in batch
        ]


async def pending(publisher: Publisher, count: int) -> None:
    async with asyncio.timeout(30):
        while publisher._pending.count < count:  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(0)


async def test_s3_04_publish_stamps_and_returns_where_the_record_is(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    """S3.4: generates the id, sets from and timestamp, returns the id."""
    placed = await publisher.publish(task("c-1"))
    (record,) = records(kafka, topics, "tasks")
    assert (placed.topic, placed.partition, placed.position) == (
        record.topic,
        record.partition,
        record.position,
    )
    assert is_message_id(placed.id)
    stored = CODEC.decode(record.value)
    assert (stored.id, stored.sender, stored.created_at, stored.kind) == (
        placed.id,
        "agent-1",
        NOW_US,
        Kind.TASK_ASSIGNMENT,
    )
    assert record.key == b"c-1"
    assert record.partition == partition_for(b"c-1", 8)
    facts = read_headers(record.headers)
    assert (facts.id, facts.type, facts.sender) == (placed.id, stored.type, "agent-1")


async def test_s3_04_an_id_that_is_given_is_kept(publisher: Publisher) -> None:
    given_ = task("c-1", id="msg-0000000000001-aaaaaaaaa", created_at=1, sender="another")
    assert (await publisher.publish(given_)).id == "msg-0000000000001-aaaaaaaaa"


async def test_s3_04_one_record_per_recipient_with_the_same_id(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    """S3.4: one delivery per recipient, same id."""
    placed = await publisher.publish(request("a", "b", "c"))
    found = records(kafka, topics, "inbox")
    assert {record.key for record in found} == {b"a", b"b", b"c"}
    assert {CODEC.decode(record.value).id for record in found} == {placed.id}
    assert {Placement(*placed[:3]), *placed.copies} == {
        Placement(record.topic, record.partition, record.position) for record in found
    }


async def test_publish_many_keeps_the_order_of_each_key_and_answers_in_order(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    sent = [task(f"c-{n % 13}", n, id=f"msg-{n:013d}-aaaaaaaaa") for n in range(3_000)]
    placed = await publisher.publish_many(iter(sent))
    assert [one.id for one in placed] == [envelope.id for envelope in sent]
    by_key: dict[bytes | None, list[str]] = {}
    at = {}
    for record in records(kafka, topics, "tasks"):
        stored = CODEC.decode(record.value)
        by_key.setdefault(record.key, []).append(stored.id)
        at[stored.id] = (record.topic, record.partition, record.position)
    assert len(by_key) == 13
    assert all(ids == sorted(ids) for ids in by_key.values())
    assert sum(map(len, by_key.values())) == 3_000
    assert all(at[one.id] == one[:3] for one in placed)


async def test_concurrent_publishes_each_learn_their_own_position(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    placed = await asyncio.gather(*(publisher.publish(task(f"c-{n}", n)) for n in range(500)))
    assert {(*one[:3], one.id) for one in placed} == {
        (record.topic, record.partition, record.position, CODEC.decode(record.value).id)
        for record in records(kafka, topics, "tasks")
    }


@pytest.mark.parametrize(
    ("refused", "error", "text"),
    [
        (Envelope(type="agentlog.task.AssignTsk", payload={}), UnknownType, "did you mean"),
        (
            Envelope(type="agentlog.task.AssignTask", payload={"task": {"id": "t", "type": 1}}),
            InvalidPayload,
            r"task\.type",
        ),
        (
            Envelope(type="agentlog.Json", payload={"json": "{}"}, kind=Kind.COMMAND),
            Unroutable,
            "stream_id",
        ),
        (
            Envelope(type="agentlog.Json", payload={"json": "x" * 1_000_000}),
            EnvelopeTooLarge,
            "the limit is 1000000",
        ),
        (request("a", priority=9), InvalidEnvelope, "priority"),
        (request("a", stream_version=1), InvalidEnvelope, "stream_version"),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_anything_is(
    kafka: str,
    topics: Namespace,
    publisher: Publisher,
    refused: Envelope,
    error: type[Exception],
    text: str,
) -> None:
    with pytest.raises(error, match=text):
        await publisher.publish(refused)
    with KafkaLogReader(kafka) as reader:
        assert not any(end for _, end in reader.ends(topics.topics(("tasks", "inbox"))))


async def test_the_size_limit_counts_key_and_headers(kafka: str, topics: Namespace) -> None:
    limit, refused = 10_000, []
    async with Publisher(kafka, topics, CODEC, sender="s", record_bytes_max=limit) as publisher:
        for size in range(limit - 600, limit - 100):
            try:
                await publisher.publish(request("a", text="x" * size))
            except EnvelopeTooLarge as error:
                refused.append(error.size)
                break
    assert refused == [limit + 1]
    largest = max(
        len(record.key or b"")
        + len(record.value or b"")
        + sum(len(name.encode()) + len(value) for name, value in record.headers)
        for record in records(kafka, topics, "inbox")
    )
    assert largest == limit


async def test_a_refused_envelope_among_many_stops_there_and_says_how_many_went(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    bad = Envelope(type="agentlog.task.AssignTask", payload={})
    with pytest.raises(InvalidPayload) as caught:
        await publisher.publish_many([task("a"), task("b"), bad, task("c")])
    assert caught.value.__notes__ == ["2 envelopes before it were sent"]
    assert {record.key for record in records(kafka, topics, "tasks")} == {b"a", b"b"}


async def test_a_large_record_goes_through_alone(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    noise = random.Random(1)
    texts = [
        "".join(noise.choices("abcdefghijklmnop0123456789", k=size))
        for size in (10, 900_000, 10, 300_000, 10)
    ]
    placed = await publisher.publish_many([request("a", text=text) for text in texts])
    assert [one.position for one in placed] == [0, 1, 2, 3, 4]
    stored = [
        CODEC.decode(record.value).payload["json"] for record in records(kafka, topics, "inbox")
    ]
    assert stored == texts


async def test_a_missing_topic_is_an_error_that_names_the_way_out_and_creates_nothing(
    kafka: str, namespace: str
) -> None:
    async with Publisher(kafka, Namespace(namespace), CODEC, sender="s") as publisher:
        with pytest.raises(PublishError, match="agentlog topics apply") as caught:
            await publisher.publish(task("c"))
    assert not caught.value.retriable
    assert TopicAdmin(kafka).topics(Namespace(namespace)) == ()


async def test_no_broker_is_a_broker_error() -> None:
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:1.*is it running"):
        async with Publisher("127.0.0.1:1", Namespace("x"), CODEC):
            pytest.fail("it opened")


async def test_closing_flushes_and_a_closed_publisher_refuses(
    kafka: str, topics: Namespace
) -> None:
    publisher = Publisher(kafka, topics, CODEC, sender="s", linger_ms=60_000)
    await publisher.start()
    publisher._announced.add(CODEC.catalogue.type("agentlog.task.AssignTask").schema_id)
    waiting = asyncio.create_task(publisher.publish(task("c")))
    await pending(publisher, 1)
    await asyncio.wait_for(publisher.close(), timeout=30)
    assert (await waiting).position == 0
    with pytest.raises(PublishError, match="not open"):
        await publisher.publish(task("c"))
    await publisher.close()


async def test_memory_is_bounded_publish_waits_for_room(kafka: str, topics: Namespace) -> None:
    """Never more than `pending_max` records are unacknowledged, however many are offered."""
    most = 0
    async with Publisher(kafka, topics, CODEC, sender="s", pending_max=50) as publisher:
        await publisher.publish(task("warm"))

        async def one(n: int) -> Published:
            nonlocal most
            placed = await publisher.publish(task(f"c-{n}", n))
            most = max(most, publisher._pending.count)
            return placed

        placed = await asyncio.gather(*(one(n) for n in range(1_000)))
        many = await publisher.publish_many(task(f"c-{n}", n) for n in range(1_000))
    assert len({item[:3] for item in (*placed, *many)}) == 2_000
    assert 0 < most <= 50


async def test_a_cancelled_publish_does_not_disturb_the_others(
    kafka: str, topics: Namespace
) -> None:
    async with Publisher(kafka, topics, CODEC, sender="s", linger_ms=200) as publisher:
        await publisher.publish(task("c"))
        tasks = [asyncio.create_task(publisher.publish(task("c", n))) for n in range(5)]
        await pending(publisher, 5)
        tasks[2].cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[2], asyncio.CancelledError)
    assert [one.position for one in done if isinstance(one, Published)] == [1, 2, 4, 5]


async def test_kafkas_refusal_names_topic_and_id(kafka: str, topics: Namespace) -> None:
    """A record that the publisher lets through and the broker does not."""
    async with Publisher(kafka, topics, CODEC, sender="s", record_bytes_max=4_000_000) as opened:
        noise = random.Random(1).randbytes(1_500_000).hex()
        with pytest.raises(PublishError, match="MessageSizeTooLarge") as caught:
            await opened.publish(request("a", text=noise, id="msg-0000000000001-aaaaaaaaa"))
    assert caught.value.envelope_id == "msg-0000000000001-aaaaaaaaa"
    assert topics.topic("inbox") in caught.value.topic
    assert not caught.value.retriable


async def test_who_is_refused_while_it_has_room_gives_it_to_the_next(
    kafka: str, topics: Namespace
) -> None:
    """The second has no topic to go to; the third must not wait for it for ever."""
    async with Publisher(kafka, topics, CODEC, sender="s", pending_max=1) as publisher:
        await publisher.publish(request("a"))  # its topic and its schema are known from now on
        async with asyncio.timeout(60):
            first, second, third = await asyncio.gather(
                publisher.publish(request("a")),
                publisher.publish(request("a").with_(kind=Kind.EVENT)),
                publisher.publish(request("a")),
                return_exceptions=True,
            )
    assert isinstance(first, Published)
    assert isinstance(second, PublishError)
    assert isinstance(third, Published)


async def test_waiting_for_room_ends_in_time(kafka: str, topics: Namespace) -> None:
    async with Publisher(
        kafka, topics, CODEC, sender="s", pending_max=1, delivery_timeout_ms=500
    ) as publisher:
        await publisher.publish(request("a"))
        publisher._pending.add(1, 1)
        with pytest.raises(PublishError, match="1 records before it") as caught:
            await publisher.publish(request("a"))
        assert caught.value.retriable


async def test_the_log_describes_itself(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    """A reader without a catalogue finds the writer's schema in the `schemas` topic."""
    await publisher.publish(task("c"))
    (record,) = records(kafka, topics, "tasks")
    stranger = Codec(Catalogue({}, {}), [SchemaTopic(kafka, topics)])
    stored = await asyncio.to_thread(stranger.decode, record.value)
    assert stored.payload["task"]["id"] == "c/0"


async def test_a_schema_is_announced_once_per_process(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    await asyncio.gather(*(publisher.publish(task(f"c-{n}")) for n in range(20)))
    await publisher.publish(request("a"))
    announced = [record.key for record in records(kafka, topics, "schemas")]
    assert sorted(key for key in announced if key) == sorted(
        b"%d" % CODEC.catalogue.type(name).schema_id
        for name in ("agentlog.task.AssignTask", "agentlog.Json")
    )


@given(st.binary(min_size=1, max_size=64), st.integers(1, 64))
def test_our_partitioner_is_aiokafkas(key: bytes, partitions: int) -> None:
    every = list(range(partitions))
    assert partition_for(key, partitions) == DefaultPartitioner()(key, every, every)


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        # Kafka's own test vectors (UtilsTest.testMurmur2), as unsigned.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_javas(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed % 2**32


async def test_all_clients_choose_the_same_partition(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    """aiokafka, confluent-kafka with our setting, and the publisher: one key, one partition."""
    noise = random.Random(3)
    keys = [
        *{
            "".join(noise.choices("abcdefgh-0123456789é", k=noise.randrange(1, 30)))
            for _ in range(200)
        }
    ]
    placed = await publisher.publish_many(task(key) for key in keys)
    ours = {key: one.partition for key, one in zip(keys, placed, strict=True)}
    assert ours == _confluent_partitions(kafka, topics.topic("tasks"), keys)
    theirs = AIOKafkaProducer(bootstrap_servers=kafka)
    await theirs.start()
    sent = [await theirs.send(topics.topic("tasks"), b"", key=key.encode()) for key in keys]
    metadata = await asyncio.gather(*sent)
    await theirs.stop()
    assert ours == {key: one.partition for key, one in zip(keys, metadata, strict=True)}


def _confluent_partitions(kafka: str, topic: str, keys: list[str]) -> dict[str, int | None]:
    chosen: dict[str, int | None] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        assert error is None
        chosen[(message.key() or b"").decode()] = message.partition()

    producer = Producer({"bootstrap.servers": kafka, "partitioner": MURMUR2})
    for key in keys:
        producer.produce(topic, b"", key=key.encode(), on_delivery=delivered)
    assert producer.flush(30) == 0
    return chosen
