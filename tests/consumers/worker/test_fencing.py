"""Fencing on real Kafka: group metadata is worth what its assignment is."""

from __future__ import annotations

import asyncio
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from consumers.marks import Mark
from consumers.worker.ports import Committed, Transaction
from consumers.worker.source import CONFIG
from consumers.worker.transactions import KafkaTransactions, end_open_transaction
from streams.record import Partition
from streams.topics import TASKS
from tests.consumers.worker.harness import Bench, until


class Member:
    """A bare member of a group, polled by hand, with the metadata of each assignment."""

    def __init__(self, bench: Bench, group: str) -> None:
        self.metadata: dict[Partition, Any] = {}
        self._consumer = Consumer(
            {**CONFIG, "bootstrap.servers": bench.servers, "group.id": bench.namespace.group(group)}
        )
        self._consumer.subscribe(
            [bench.namespace.topic(TASKS)], on_assign=self._on_assign, on_revoke=self._on_revoke
        )

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        metadata = consumer.consumer_group_metadata()
        self.metadata |= {Partition(p.topic, p.partition): metadata for p in partitions}
        consumer.incremental_assign(partitions)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            del self.metadata[Partition(one.topic, one.partition)]
        consumer.incremental_unassign(partitions)

    def owns(self, count: int) -> bool:
        """Poll once; true if it has so many partitions now."""
        self._consumer.poll(0.05)
        return len(self.metadata) == count

    def close(self) -> None:
        self._consumer.close()


async def test_h03_a_partition_that_moved_on_refuses_its_old_assignments_metadata(
    kafka: str, namespace: str
) -> None:
    """Old metadata still commits what stayed, and aborts what went; nobody waits for a timeout."""
    bench = Bench(kafka, namespace)
    first, second = Member(bench, "g"), None
    transactions = KafkaTransactions(kafka, bench.namespace.transactional_id("g", "run"))
    try:
        await until(lambda: first.owns(8), "first has all")
        before = dict(first.metadata)
        second = joined = Member(bench, "g")
        await until(lambda: first.owns(4) & joined.owns(4), "each has half")
        stayed, went = next(iter(first.metadata)), next(iter(second.metadata))
        old = before[went]
        assert (
            await transactions.commit(Transaction([], [(old, {stayed: Mark(0)})])) is Committed.YES
        )
        assert await transactions.commit(Transaction([], [(old, {went: Mark(0)})])) is Committed.NO
        both = Transaction([], [(old, {stayed: Mark(0), went: Mark(0)})])
        assert await transactions.commit(both) is Committed.NO
        assert transactions.producers_made >= 2  # every abort discards one (H1)
        again = Transaction([], [(second.metadata[went], {went: Mark(0)})])
        assert await transactions.commit(again) is Committed.YES
    finally:
        await transactions.close()
        first.close()
        if second is not None:
            second.close()


async def test_h08_a_dead_process_transaction_is_ended_at_once(kafka: str, namespace: str) -> None:
    """What a killed worker left open does not hold up readers until its timeout."""
    bench = Bench(kafka, namespace)
    transactional_id = bench.namespace.transactional_id("g", "dead")
    topic = bench.namespace.topic(TASKS)
    dead = KafkaTransactions(kafka, transactional_id)
    producer = dead._standing_producer()
    producer.begin_transaction()
    producer.produce(topic, b"never", b"k", partition=0)
    producer.flush(10)
    source = Partition(topic, 0)
    assert dict(bench.reader.ends([topic]))[source] == 0
    await asyncio.to_thread(end_open_transaction, kafka, transactional_id)
    await until(lambda: dict(bench.reader.ends([topic]))[source] == 2, "aborted", deadline_s=5)
    assert bench.records(TASKS) == []
