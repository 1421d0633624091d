"""The source on real Kafka: partitions take turns, and who leaves takes nothing up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from consumers.window import Window
from consumers.worker.source import CONFIG, KafkaSource
from streams.kafka.configs import ADMIN, SILENT
from streams.topics import TASKS, TOPICS
from tests.consumers.worker.harness import Bench, until
from tests.faults.load import Load, publish
from tests.faults.stage import CODEC

RECORDS = 40_000
SHARE = 5
"""Of a backlog, the part in which every partition must have had its turn."""


class Busy(KafkaSource):
    """A source whose thread is so late that it never polls."""

    def _step(self) -> None:
        self._stopping.wait()


class Listener:
    """Hears what a source tells."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *values: self._hear(name, values)

    def _hear(self, name: str, values: Sequence[Any]) -> None:
        self.told.append(name)
        if name == "on_revoking":
            values[1]()


async def test_what_is_assigned_to_a_source_that_leaves_does_not_hold_it_up(
    kafka: str, namespace: str
) -> None:
    """The client hands it over while it closes, and then names no committed position any more."""
    bench = Bench(kafka, namespace)
    group, listener = bench.namespace.group("g"), Listener()
    source = Busy(
        kafka, group, [bench.namespace.topic(TASKS)], Window(100, 64 * 1024 * 1024), revoke_s_max=5
    )
    admin = AdminClient({**ADMIN, "bootstrap.servers": kafka}, logger=SILENT)

    def assigned() -> bool:
        try:
            found = admin.describe_consumer_groups([group])[group].result(10)
        except KafkaException:  # nobody has joined it yet
            return False
        return any(member.assignment.topic_partitions for member in found.members)

    source.start(listener)
    await until(assigned, "the group gives it partitions")
    began = time.monotonic()
    await source.stop()
    assert time.monotonic() - began < 5
    await asyncio.sleep(0)
    assert "on_source_failed" not in listener.told
    assert "on_assigned" not in listener.told


def test_the_partitions_of_a_backlog_take_turns(kafka: str, namespace: str) -> None:
    """None is read to its end while another one waits."""
    bench = Bench(kafka, namespace)
    publish(kafka, bench.namespace, CODEC, Load(RECORDS))
    topic, count = bench.namespace.topic(TASKS), TOPICS[TASKS].partitions
    settings = {**CONFIG, "bootstrap.servers": kafka, "group.id": bench.namespace.group("g")}
    consumer = Consumer(settings, logger=SILENT)
    try:
        consumer.assign([TopicPartition(topic, index, 0) for index in range(count)])
        read: list[int | None] = []
        deadline = time.monotonic() + 60
        while len(read) < RECORDS and time.monotonic() < deadline:
            read += [message.partition() for message in consumer.consume(500, 1)]
    finally:
        consumer.close()
    assert len(read) == RECORDS
    assert len(set(read[: RECORDS // SHARE])) == count
