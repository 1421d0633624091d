"""Faults of those who own streams: killed when they have decided, replaced, still believing."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from consumers.aggregates import MemoryStates, Rebuilding
from streams.envelope import Envelope, Kind
from streams.headers import record_headers
from streams.identity import message_id
from streams.kafka.configs import MURMUR2, SILENT
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition
from streams.shared_state import ENTRY_SET
from streams.topics import EVENTS
from tests.faults.ledger import DIED, ledger
from tests.faults.record_kinds import MORTAL, scattered
from tests.faults.stage import CODEC, HAPPEN_S_MAX, DidNotHappen, During, Stage

DEATHS: Final = 8
DEATHS_S_MAX: Final = 300.0
"""Each time a session (6 s) has to end, and a process to start."""
FORKS: Final = 6
FORGED_FIRST: Final = 1 << 30
"""Number of the first forged event: far above any that a load has."""
ANSWER_S_MAX: Final = 20.0


def mortal(deaths: int) -> Any:
    """So many commands whose owner dies when it has decided."""
    return lambda records: scattered(records, MORTAL, each=deaths)


def die_deciding(deaths: int) -> During:
    """Wait until every such command has had its owner's life."""

    async def during(stage: Stage) -> None:
        await stage.until(
            lambda: len(list(stage.folder.glob(f"*{DIED}"))) >= deaths,
            f"{deaths} owners died",
            DEATHS_S_MAX,
        )
        await stage.until(stage.all_joined, "their successors are members")
        stage.notes["died"] = f"{deaths} owners, 0 to 60 ms after a decision"

    return during


def fork(forks: int) -> During:
    """A former member writes the next event of a stream of its former partitions, and commits."""

    async def during(stage: Stage) -> None:
        said = [await asyncio.to_thread(_fork, stage, turn) for turn in range(forks)]
        stage.notes["refused"] = ", ".join(said)

    return during


def _fork(stage: Stage, turn: int) -> str:
    """Try it once; returns the name of the error that refused it."""
    partition, membership = _former_member(stage)
    event = _next_event(stage, partition, turn)
    headers: Any = record_headers(event)
    producer = Producer(
        {
            "bootstrap.servers": stage.cluster.servers,
            "transactional.id": stage.namespace.transactional_id("fork", str(turn)),
            "partitioner": MURMUR2,
        },
        logger=SILENT,
    )
    producer.init_transactions(ANSWER_S_MAX)
    producer.begin_transaction()
    topic = stage.namespace.topic(EVENTS)
    producer.produce(topic, CODEC.encode(event), event.stream_id, partition, headers=headers)
    if producer.flush(ANSWER_S_MAX):
        raise DidNotHappen("the brokers did not take the forged event")
    at = stage.progress.committed.get(Partition(stage.source, partition), 0) + 1
    try:
        producer.send_offsets_to_transaction(
            [TopicPartition(stage.source, partition, at)], membership, ANSWER_S_MAX
        )
    except KafkaException as error:
        producer.abort_transaction(ANSWER_S_MAX)
        return str(error.args[0].name())
    producer.commit_transaction(ANSWER_S_MAX)
    return "not refused"


def _former_member(stage: Stage) -> tuple[int, Any]:
    """A partition that a member had, and what it knew of its membership; it has left since."""
    consumer = Consumer(
        {
            "bootstrap.servers": stage.cluster.servers,
            "group.id": stage.group,
            "group.protocol": "consumer",
            "enable.auto.commit": False,
        },
        logger=SILENT,
    )
    try:
        consumer.subscribe([stage.source])
        deadline = time.monotonic() + HAPPEN_S_MAX
        while not (mine := consumer.assignment()):
            if time.monotonic() > deadline:
                raise DidNotHappen("the group gave a new member nothing")
            consumer.poll(0.1)
        return mine[0].partition, consumer.consumer_group_metadata()
    finally:
        consumer.close()


def _next_event(stage: Stage, partition: int, turn: int) -> Envelope:
    """The next event of a stream there, as an owner who knows no better would write it."""
    source = Partition(stage.namespace.topic(EVENTS), partition)
    states = MemoryStates()
    rebuilding = Rebuilding((ledger,), CODEC, states)
    with KafkaLogReader(stage.cluster.servers) as reader:
        for batch in reader.read(source, 0, dict(reader.ends([source.topic]))[source]):
            rebuilding.add(batch)
    stream_id, state = next(iter(states.items()))
    key = stream_id.partition(":")[2]
    task_id = f"{key}-{FORGED_FIRST + turn}"
    stage.never_committed.add(task_id)
    return Envelope(
        type=ENTRY_SET,
        id=message_id(1_600_000_000_000 + turn, f"{turn:09d}"),
        kind=Kind.EVENT,
        sender="fork",
        writer="fork",
        created_at=time.time_ns() // 1000,
        correlation_id=key,
        stream_id=stream_id,
        stream_version=state.version + 1,
        writer_epoch=rebuilding.epoch,
        payload={"key": key, "value": task_id, "updated_by": "fork", "updated_at": 0},
    )
