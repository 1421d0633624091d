"""The load: records numbered per key, all acknowledged by every in-sync replica.

Record i of a load is number i // keys of key i % keys, so keys take turns and every partition has
work from the first moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaError, Message, Producer

from streams.envelope import Envelope
from streams.headers import record_headers
from streams.identity import message_id
from streams.kafka.configs import BATCH_BYTES, MURMUR2, SILENT
from streams.schemas import Codec
from streams.topics import Namespace
from tests.faults.ground import Ground
from tests.faults.record_kinds import BROKEN, DEAD_LETTERS, PLAIN, broken

KEYS: Final = 256
TASK_ID: Final = "task_id"
"""Kafka header that names a task whose value nobody can read."""
FLUSH_S: Final = 120.0
OUTLAST_MAX: Final = 20
"""So many times its own size a load may grow to, while a fault is not over."""
LATE_S_MAX: Final = 1.0
"""By which a load that is spread over time may lag behind its pace and catch up."""
PACE_RECORDS: Final = 200
"""Records sent in one go when the load is spread over time."""
UNACKNOWLEDGED_MAX: Final = 2_000
"""Records under way to the brokers: librdkafka's idempotent producer spins on those that it cannot
deliver, and here it shares two cores with the brokers that it waits for."""
LOOK_AGAIN_S: Final = 0.1
_EPOCH_MS: Final = 1_700_000_000_000
_SETTINGS: Final = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "partitioner": MURMUR2,
    "linger.ms": 20,
    "batch.size": BATCH_BYTES,
}


class Load(msgspec.Struct, frozen=True):
    """So many records over so many keys; a few may be tasks of another type."""

    records: int
    keys: int = KEYS
    first: int = 0
    """Index of its first record."""
    special: dict[int, str] = {}
    """Kinds by index (`record_kinds`) of those records that are a fault in themselves."""

    def task_id(self, index: int) -> str:
        """`<key>-<number within the key>`."""
        return f"k{index % self.keys:04d}-{index // self.keys}"

    def kind(self, nth: int) -> str:
        """Its n-th record's kind (`record_kinds`)."""
        return self.special.get(self.first + nth, PLAIN)

    def task_ids(self) -> Iterator[str]:
        """All of them, in the order they are sent."""
        return map(self.task_id, range(self.first, self.first + self.records))

    def doomed(self) -> frozenset[str]:
        """Those of its tasks that must end as dead letters; no other may."""
        ours = range(self.first, self.first + self.records)
        return frozenset(
            self.task_id(index)
            for index, kind in self.special.items()
            if kind in DEAD_LETTERS and index in ours
        )

    def envelope(self, ground: Ground, nth: int, now_us: int) -> Envelope:
        """Its n-th record, from 0, as an agent sends it."""
        index = self.first + nth
        return ground.make(self.task_id(index), self.kind(nth)).with_(
            id=message_id(_EPOCH_MS + index, f"{index % 10**9:09d}"),
            sender="boss",
            created_at=now_us,
        )


def key_of(task_id: str) -> str:
    """The key that a task is numbered in."""
    return task_id.partition("-")[0]


def number_of(task_id: str) -> int:
    """Its number there, from 0."""
    return int(task_id.partition("-")[2])


def publish(
    servers: str,
    namespace: Namespace,
    codec: Codec,
    ground: Ground,
    load: Load,
    *,
    pace_s: float = 0.0,
    goes_on: Callable[[], bool] = lambda: False,
    is_kept_up: Callable[[], bool] = lambda: True,
) -> Load:
    """Append a load to the ground's source, spread over `pace_s` seconds, and more of it at the
    same pace for as long as it `goes_on`; returns the load as it has become. It waits while it is
    not kept up with: a backlog that grows for as long as a fault lasts would only measure itself.

    Raises `RuntimeError` unless all of it was acknowledged.
    """
    refused: list[str] = []

    def on_delivery(error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            refused.append(error.str())

    producer = Producer({**_SETTINGS, "bootstrap.servers": servers}, logger=SILENT)
    topic = namespace.topic(ground.source)
    began = time.monotonic()
    sent = 0
    for index in range(load.records * OUTLAST_MAX):
        if index % PACE_RECORDS == 0:
            due_at = began + pace_s * index / load.records
            _poll_until(producer, due_at)
            while len(producer) > UNACKNOWLEDGED_MAX or not is_kept_up():
                producer.poll(LOOK_AGAIN_S)
            # What brokers that are away held up is late, not made good all at once.
            began += max(0.0, time.monotonic() - due_at - LATE_S_MAX)
        if index >= load.records and not goes_on():
            break
        key, value, headers = _record(codec, ground, load, index)
        while True:
            try:
                producer.produce(topic, value, key, headers=headers, on_delivery=on_delivery)
                break
            except BufferError:
                producer.poll(0.1)
        sent = index + 1
    if producer.flush(FLUSH_S) or refused:
        raise RuntimeError(f"the load was not acknowledged: {refused[:3] or 'no answer in time'}")
    return msgspec.structs.replace(load, records=sent)


def _poll_until(producer: Producer, due_at: float) -> None:
    producer.poll(0)
    while (early_s := due_at - time.monotonic()) > 0:
        producer.poll(early_s)  # which returns at the first report


def _record(codec: Codec, ground: Ground, load: Load, index: int) -> tuple[str, bytes, Any]:
    """Key, value and headers of the load's n-th record."""
    envelope = load.envelope(ground, index, time.time_ns() // 1000)
    headers: Any = record_headers(envelope)
    value = codec.encode(envelope)
    kind = load.kind(index)
    if kind in BROKEN:
        value = broken(kind, value)
        headers.append((TASK_ID, load.task_id(load.first + index).encode()))
    key = envelope.stream_id or envelope.correlation_id
    assert key is not None
    return key, value, headers
