"""Tail on real Kafka: a range ends where it says, following goes on, filters choose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from aiokafka import AIOKafkaProducer
from confluent_kafka import Producer

from streams.envelope import Envelope, Kind
from streams.kafka.admin import TopicAdmin
from streams.kafka.publisher import Publisher
from streams.kafka.reader import KafkaLogReader
from streams.kafka.tail import Filter, tail
from streams.ranges import Span, parse_range, resolve
from streams.record import Partition
from streams.schemas import Catalogue, Codec
from streams.topics import TOPICS, Namespace

CODEC = Codec(Catalogue.load())
USED = ("tasks", "channels", "schemas")


@pytest.fixture
def topics(kafka: str, namespace: str) -> Iterator[Namespace]:
    admin, mine = TopicAdmin(kafka), Namespace(namespace)
    admin.provision(mine, {name: TOPICS[name] for name in USED})
    yield mine
    admin.delete(mine.topics(USED))


@pytest.fixture
async def publisher(kafka: str, topics: Namespace) -> AsyncIterator[Publisher]:
    async with Publisher(kafka, topics, CODEC, sender="agent-1") as opened:
        yield opened


def task(key: str, n: int, **fields: object) -> Envelope:
    return Envelope(
        type="agentlog.task.AssignTask",
        correlation_id=key,
        **fields,  # type: ignore[arg-type]
        payload={"task": {"id": f"{key}/{n}", "type": "change"}},
    )


def spans(kafka: str, topics: Namespace, text: str, *names: str) -> dict[Partition, Span]:
    with KafkaLogReader(kafka) as reader:
        return resolve(reader, topics.topics(names or ("tasks", "channels")), *parse_range(text, 0))


async def seen(kafka: str, wanted: dict[Partition, Span], asked: Filter | None = None) -> list[str]:
    async with asyncio.timeout(60):
        return [
            one.envelope.payload["task"]["id"] if one.envelope else f"! {one.problem}"
            async for one in tail(kafka, CODEC, wanted, asked)
        ]


async def test_a_range_shows_each_record_once_in_the_order_of_its_partition(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    await publisher.publish_many(task(f"c-{n % 7}", n) for n in range(700))
    found = await seen(kafka, spans(kafka, topics, "start:end"))
    assert len(found) == len(set(found)) == 700
    for key in range(7):
        mine = [int(name.partition("/")[2]) for name in found if name.startswith(f"c-{key}/")]
        assert mine == list(range(key, 700, 7))
    last = await seen(kafka, spans(kafka, topics, "-1:end", "tasks"))
    assert len(last) == len(
        {
            task_.partition
            for task_ in await publisher.publish_many(task(f"c-{n}", n) for n in range(7))
        }
    )


async def test_an_empty_range_ends_at_once(kafka: str, topics: Namespace) -> None:
    assert await seen(kafka, spans(kafka, topics, "start:end")) == []


async def test_filters_choose_by_key_agent_type_and_channel(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    await publisher.publish(task("k-1", 1, recipients=("bob",)))
    await publisher.publish(task("k-2", 2, sender="bob", channel_id="docs"))
    await publisher.publish(task("k-2", 3, kind=Kind.TASK_RESULT))
    whole = spans(kafka, topics, "start:end")
    assert await seen(kafka, whole, Filter(key="k-1")) == ["k-1/1"]
    assert sorted(await seen(kafka, whole, Filter(agent="bob"))) == ["k-1/1", "k-2/2"]
    assert await seen(kafka, whole, Filter(channel="docs", agent="bob")) == ["k-2/2"]
    assert await seen(kafka, whole, Filter(type="task_result")) == ["k-2/3"]
    assert len(await seen(kafka, whole, Filter(type="AssignTask"))) == 3
    assert len(await seen(kafka, whole, Filter(type="agentlog.task.AssignTask"))) == 3
    assert await seen(kafka, whole, Filter(type="TaskFinished")) == []


async def test_following_shows_what_comes_after(
    kafka: str, topics: Namespace, publisher: Publisher
) -> None:
    await publisher.publish(task("c", 0))
    wanted = spans(kafka, topics, "end")
    watched = tail(kafka, CODEC, wanted)
    first = asyncio.ensure_future(anext(watched))
    await publisher.publish_many(task("c", n) for n in range(1, 4))
    async with asyncio.timeout(60):
        found = [(await first), await anext(watched), await anext(watched)]
    await watched.aclose()
    assert [one.envelope.payload["task"]["id"] for one in found if one.envelope] == [
        "c/1",
        "c/2",
        "c/3",
    ]


async def test_what_cannot_be_read_is_shown_as_such_unless_a_filter_looks_inside(
    kafka: str, topics: Namespace
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    await producer.send_and_wait(topics.topic("tasks"), b"garbage", key=b"k")
    await producer.stop()
    whole = spans(kafka, topics, "start:end")
    assert await seen(kafka, whole) == [
        "! value begins with byte 103, not with the 0 of Confluent's format"
    ]
    assert len(await seen(kafka, whole, Filter(key="k"))) == 1
    assert await seen(kafka, whole, Filter(agent="a")) == []


async def test_aborted_records_and_markers_at_the_end_are_passed(
    kafka: str, topics: Namespace
) -> None:
    """The last positions of a partition may hold nothing visible; the range ends all the same."""
    name = topics.topic("tasks")
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": name})
    producer.init_transactions(30)
    for n, commit in enumerate((True, False)):
        producer.begin_transaction()
        envelope = task(
            "c",
            n,
            id=f"msg-{n:013d}-aaaaaaaaa",
            sender="s",
            created_at=1,
            kind=Kind.TASK_ASSIGNMENT,
        )
        producer.produce(name, CODEC.encode(envelope), key=b"c", partition=0)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.flush(30)
            producer.abort_transaction(30)
    whole = spans(kafka, topics, "start:end", "tasks")
    assert whole[Partition(name, 0)] == Span(0, 4)
    assert await seen(kafka, whole) == ["c/0"]
