"""What every publisher promises: the same envelopes become the same records on every log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple

import pytest

from streams.envelope import Envelope, Kind
from streams.errors import EnvelopeTooLarge, InvalidPayload, PublishError, UnknownType
from streams.identity import is_message_id
from streams.kafka.admin import TopicAdmin
from streams.kafka.publisher import Placement, Publisher
from streams.kafka.reader import KafkaLogReader
from streams.kafka.schema_topic import SchemaTopic
from streams.memory import MemoryLog, MemoryLogReader, MemoryPublisher
from streams.ports import LogReader
from streams.record import Record
from streams.schemas import Catalogue, Codec
from streams.topics import TOPICS, Namespace
from streams.topics.partitioning import partition_for

CODEC = Codec(Catalogue.load())
USED = {name: TOPICS[name] for name in ("tasks", "inbox", "schemas")}


class Stage(NamedTuple):
    """A publisher that is open, and the log behind it."""

    publisher: Publisher | MemoryPublisher
    reader: LogReader
    namespace: Namespace

    def records(self, logical: str) -> list[Record]:
        topic = self.namespace.topic(logical)
        return [
            record
            for source, end in self.reader.ends([topic])
            for batch in self.reader.read(source, 0, end)
            for record in batch
        ]


@pytest.fixture(params=["kafka", "memory"])
async def stage(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Stage]:
    mine = Namespace(namespace)
    if request.param == "memory":
        log = MemoryLog()
        log.provision(mine, USED)
        async with MemoryPublisher(log, mine, CODEC, sender="agent-1") as publisher:
            yield Stage(publisher, MemoryLogReader(log), mine)
        return
    kafka = request.getfixturevalue("kafka")
    TopicAdmin(kafka).provision(mine, USED)
    with KafkaLogReader(kafka) as reader:
        async with Publisher(kafka, mine, CODEC, sender="agent-1") as opened:
            yield Stage(opened, reader, mine)


def task(correlation_id: str, n: int = 0, **fields: Any) -> Envelope:
    payload: Mapping[str, Any] = {"task": {"id": f"{correlation_id}/{n}", "type": "change"}}
    return Envelope(
        type="agentlog.task.AssignTask", correlation_id=correlation_id, payload=payload, **fields
    )


def request_to(*recipients: str, text: str = "{}") -> Envelope:
    return Envelope(
        type="agentlog.Json", payload={"json": text}, kind=Kind.REQUEST, recipients=recipients
    )


async def test_what_is_acknowledged_is_there(stage: Stage) -> None:
    """Stamped, on its key's partition, at the position that was answered."""
    placed = await stage.publisher.publish(task("c-1"))
    (record,) = stage.records("tasks")
    assert placed[:3] == (record.topic, record.partition, record.position)
    assert (record.key, record.partition) == (b"c-1", partition_for(b"c-1", 8))
    stored = CODEC.decode(record.value, record.headers)
    assert (stored.id, stored.sender, stored.kind) == (placed.id, "agent-1", Kind.TASK_ASSIGNMENT)
    assert is_message_id(placed.id)
    assert abs(stored.created_at // 1000 - record.appended_at_ms) < 60_000


async def test_one_record_per_recipient_with_the_same_id(stage: Stage) -> None:
    placed = await stage.publisher.publish(request_to("a", "b", "c"))
    found = stage.records("inbox")
    assert {record.key for record in found} == {b"a", b"b", b"c"}
    assert {CODEC.decode(record.value, record.headers).id for record in found} == {placed.id}
    assert {Placement(*placed[:3]), *placed.copies} == {
        Placement(record.topic, record.partition, record.position) for record in found
    }


async def test_many_keep_the_order_of_their_key(stage: Stage) -> None:
    """And are answered in the order in which they were given."""
    placed = await stage.publisher.publish_many(task(f"c-{n % 3}", n) for n in range(30))
    by_place = {
        (one.topic, one.partition, one.position): CODEC.decode(one.value, one.headers)
        for one in stage.records("tasks")
    }
    assert [by_place[one[:3]].id for one in placed] == [one.id for one in placed]
    for key in range(3):
        numbers = [
            int(one.payload["task"]["id"].partition("/")[2])
            for _, one in sorted(by_place.items())
            if one.correlation_id == f"c-{key}"
        ]
        assert numbers == sorted(numbers)
        assert len(numbers) == 10


async def test_what_is_wrong_is_refused_before_anything_is_written(stage: Stage) -> None:
    with pytest.raises(UnknownType):
        await stage.publisher.publish(Envelope(type="agentlog.Nothing", payload={}))
    with pytest.raises(InvalidPayload):
        await stage.publisher.publish(task("c").with_(payload={"task": 1}))
    with pytest.raises(EnvelopeTooLarge):
        await stage.publisher.publish(request_to("a", text="x" * 1_100_000))
    assert stage.records("tasks") == stage.records("inbox") == []


async def test_one_that_is_refused_among_many_says_how_many_went_before(stage: Stage) -> None:
    """Those are on the log."""
    with pytest.raises(UnknownType) as caught:
        await stage.publisher.publish_many(
            [task("c", 0), task("c", 1), Envelope(type="agentlog.Nothing", payload={})]
        )
    assert "2 envelopes before it were sent" in caught.value.__notes__
    assert len(stage.records("tasks")) == 2


async def test_a_topic_that_is_not_there_is_named(stage: Stage) -> None:
    event = request_to("a").with_(kind=Kind.EVENT, stream_id="s")
    with pytest.raises(PublishError, match="does not exist") as caught:
        await stage.publisher.publish(event)
    assert caught.value.topic == stage.namespace.topic("events")
    assert not caught.value.retriable


async def test_a_schema_is_on_the_log_before_its_first_record(stage: Stage) -> None:
    """Once per publisher; a reader without a catalogue finds it there."""
    await stage.publisher.publish_many([task("c", n) for n in range(3)])
    (announced,) = stage.records("schemas")
    assert announced.key == b"%d" % CODEC.catalogue.type("agentlog.task.AssignTask").schema_id
    stranger = Codec(
        Catalogue({}, {}), [SchemaTopic("unused", stage.namespace, reader=stage.reader)]
    )
    stored = stranger.decode(stage.records("tasks")[0].value)
    assert stored.payload["task"]["id"] == "c/0"
