"""Single records by position, on real Kafka."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.errors import LogError
from streams.kafka.lookup import NEAR_POSITIONS, KafkaLookup
from streams.record import Partition, Place
from streams.topics import TASKS
from tests.consumers.worker.harness import Bench

MANY = 5 * NEAR_POSITIONS


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """Two partitions: values are positions; on each a record, then a marker, again and again."""
    bench = Bench(kafka, namespace)
    producer = Producer({"bootstrap.servers": kafka, "linger.ms": 0})
    for n in range(MANY):
        for partition in (0, 1):
            producer.produce(bench.namespace.topic(TASKS), str(n), b"k", partition=partition)
        if n % 100 == 0:
            producer.flush()
    assert producer.flush(30) == 0
    return bench


def place(bench: Bench, partition: int, position: int) -> Place:
    return Place(Partition(bench.namespace.topic(TASKS), partition), position)


def test_records_are_read_by_position_near_and_far_on_all_partitions_at_once(bench: Bench) -> None:
    """In whichever order they are asked for, and again on the same connections."""
    positions = [0, 1, 2, NEAR_POSITIONS - 1, NEAR_POSITIONS, 3 * NEAR_POSITIONS, MANY - 1]
    wanted = [place(bench, partition, at) for partition in (1, 0) for at in reversed(positions)]
    with KafkaLookup(bench.servers) as lookup:
        for _ in range(3):
            found = lookup.at(wanted)
            assert set(found) == set(wanted)
            for where, record in found.items():
                assert record.value == str(where.position).encode()
                assert record.place == where
        assert lookup.at([]) == {}
        assert list(lookup.at([wanted[0]])) == [wanted[0]]


def test_what_no_committed_record_is_at_is_left_out(bench: Bench) -> None:
    """Markers, and what a transaction aborted."""
    topic = bench.namespace.topic(TASKS)
    producer = Producer({"bootstrap.servers": bench.servers, "transactional.id": topic})
    producer.init_transactions(30)
    for commit in (True, False):
        producer.begin_transaction()
        producer.produce(topic, b"in a transaction", b"k", partition=0)
        producer.flush()  # else there is nothing to abort
        (producer.commit_transaction if commit else producer.abort_transaction)(30)
    wanted = [place(bench, 0, MANY + n) for n in range(4)]  # record, marker, aborted, marker
    with KafkaLookup(bench.servers) as lookup:
        assert list(lookup.at(wanted)) == wanted[:1]
        assert list(lookup.at([*wanted, place(bench, 1, 7)])) == [wanted[0], place(bench, 1, 7)]


def test_positions_that_are_gone_or_never_were_are_errors(bench: Bench) -> None:
    """Which one is named; afterwards the lookup works on."""
    gone = TopicPartition(bench.namespace.topic(TASKS), 0, 10)
    admin = AdminClient({"bootstrap.servers": bench.servers})
    for future in admin.delete_records([gone]).values():
        future.result(30)
    with KafkaLookup(bench.servers) as lookup:
        with pytest.raises(LogError, match=r"tasks\[0\] no longer has, or never had, position 3"):
            lookup.at([place(bench, 0, 3)])
        for beyond in (MANY, MANY + 10):
            with pytest.raises(LogError, match=rf"tasks\[1\] no .* never had, position {beyond}"):
                lookup.at([place(bench, 1, beyond)])
        assert list(lookup.at([place(bench, 0, 10)])) == [place(bench, 0, 10)]
