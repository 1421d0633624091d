"""A topic filled with history, as quickly as may be: the ground that reading benches stand on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from typing import Any, Final, NamedTuple

from confluent_kafka import Producer

from streams.envelope import Envelope
from streams.headers import CE_ID, Header, record_headers
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
    bootstrap_servers: str,
    topic: str,
    codec: Codec,
    envelopes: Sequence[Envelope],
    records: int,
    *,
    fresh_ids: bool = False,
) -> None:
    """Write so many records, as our publisher would write these envelopes, again and again.

    With `fresh_ids` each has an id of its own, so that no worker takes one for a repetition; the
    rest is written as it was encoded once.
    """
    encoded = [_encoded(codec, envelope) for envelope in envelopes]
    numbered = enumerate(islice(cycle(encoded), records))
    _write(
        bootstrap_servers,
        topic,
        (_renamed(one, number) if fresh_ids else one for number, one in numbered),
    )


def fill_each(
    bootstrap_servers: str, topic: str, codec: Codec, envelopes: Iterable[Envelope]
) -> None:
    """Write each of these envelopes once, as our publisher would."""
    _write(bootstrap_servers, topic, (_encoded(codec, envelope) for envelope in envelopes))


class _Encoded(NamedTuple):
    id: bytes
    key: bytes
    value: bytes
    headers: list[Header]


def _encoded(codec: Codec, envelope: Envelope) -> _Encoded:
    return _Encoded(
        envelope.id.encode(),
        route(envelope)[0].key,
        codec.encode(envelope),
        record_headers(envelope),
    )


def _write(bootstrap_servers: str, topic: str, written: Iterator[_Encoded]) -> None:
    producer = Producer({**_SETTINGS, "bootstrap.servers": bootstrap_servers}, logger=SILENT)
    for one in written:
        _produce(producer, topic, one.key, one.value, one.headers)
    if producer.flush(FLUSH_S):
        raise RuntimeError(f"{topic} could not be filled within {FLUSH_S:.0f} s")


def _renamed(one: _Encoded, number: int) -> _Encoded:
    """The same record with the number in place of its id's last nine characters.

    The id is the value's first field and always as long, so it is exchanged in the bytes.
    """
    fresh = one.id[:-9] + b"%09d" % number
    headers = [(name, fresh if name == CE_ID else value) for name, value in one.headers]
    return _Encoded(fresh, one.key, one.value.replace(one.id, fresh, 1), headers)


def _produce(producer: Producer, topic: str, key: bytes, value: bytes, headers: Any) -> None:
    while True:
        try:
            producer.produce(topic, value, key, headers=headers)
            return
        except BufferError:
            producer.poll(0.05)
