"""A topic filled with history, as quickly as may be: the ground that reading benches stand on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice
from typing import Any, Final

from confluent_kafka import Producer

from streams.envelope import Envelope
from streams.headers import record_headers
from streams.kafka.configs import BATCH_BYTES, MURMUR2, SILENT
from streams.schemas import Codec
from streams.topics.routing import route

FLUSH_S: Final = 60.0

_SETTINGS: Final = {
    "enable.idempotence": True,
    "acks": "all",
    "compression.type": "lz4",
    "partitioner": MURMUR2,
    "linger.ms": 20,
    "batch.size": BATCH_BYTES,
}


def fill(
    bootstrap_servers: str, topic: str, codec: Codec, envelopes: Sequence[Envelope], records: int
) -> None:
    """Write so many records, as our publisher would write these envelopes, again and again."""
    producer = Producer({**_SETTINGS, "bootstrap.servers": bootstrap_servers}, logger=SILENT)
    encoded = [
        (route(envelope)[0].key, codec.encode(envelope), record_headers(envelope))
        for envelope in envelopes
    ]
    for key, value, headers in islice(cycle(encoded), records):
        _produce(producer, topic, key, value, headers)
    if producer.flush(FLUSH_S):
        raise RuntimeError(f"{topic} could not be filled within {FLUSH_S:.0f} s")


def _produce(producer: Producer, topic: str, key: bytes, value: bytes, headers: Any) -> None:
    while True:
        try:
            producer.produce(topic, value, key, headers=headers)
            return
        except BufferError:
            producer.poll(0.05)
