"""Named cuts on Kafka: read from the topic `state`, and put there."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

from confluent_kafka import KafkaError, Message, Producer

from streams.cuts import Cut
from streams.errors import BrokerError, ConfigurationError
from streams.headers import record_headers
from streams.identity import message_id, random_suffix
from streams.kafka.configs import SILENT
from streams.kafka.reader import KafkaLogReader
from streams.kafka.schema_topic import schema_record
from streams.ports import SystemClock
from streams.record import Record
from streams.saved_cuts import CUT_SAVED, KEY_PREFIX, SavedCut, cut_saved, read_saved
from streams.schemas import Codec
from streams.topics import SCHEMAS, STATE, Namespace

FLUSH_S: Final = 15.0


class NamedCuts:
    """The cuts that somebody has saved in a namespace."""

    def __init__(self, reader: KafkaLogReader, namespace: Namespace, codec: Codec) -> None:
        self._reader = reader
        self._namespace = namespace
        self._codec = codec

    def all(self) -> dict[str, SavedCut]:
        """By name."""
        return read_saved(self._records(), self._codec)

    def named(self, name: str) -> Cut:
        """The cut of a name. Raises `ConfigurationError` that names those there are."""
        found = self.all()
        if name not in found:
            known = ", ".join(found) or "none"
            raise ConfigurationError(
                f"no cut is saved as {name!r} in namespace {self._namespace.name} (there are: "
                f"{known}); `agentlog cut save {name}` saves one, and a file is written @./{name}"
            )
        return found[name].cut

    def save(self, name: str, cut: Cut, *, note: str, sender: str) -> None:
        """Give a cut a name; what had the name before loses it. Raises `BrokerError`."""
        now_us = SystemClock().now_us()
        envelope = cut_saved(name, cut, note).with_(
            id=message_id(now_us // 1000, random_suffix(random.SystemRandom())),
            sender=sender,
            created_at=now_us,
        )
        writer = self._codec.catalogue.type(CUT_SAVED).wire
        refused: list[str] = []

        def on_delivery(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                refused.append(error.str())

        producer = Producer(
            {
                "bootstrap.servers": self._reader.bootstrap_servers,
                "enable.idempotence": True,
                "acks": "all",
                "message.timeout.ms": int(FLUSH_S * 1000),
            },
            logger=SILENT,
        )
        key, text = schema_record(writer)
        producer.produce(self._namespace.topic(SCHEMAS), text, key, on_delivery=on_delivery)
        producer.produce(
            self._namespace.topic(STATE),
            self._codec.encode(envelope),
            f"{KEY_PREFIX}{name}".encode(),
            headers=record_headers(envelope),  # type: ignore[arg-type]
            on_delivery=on_delivery,
        )
        if producer.flush(FLUSH_S + 1) or refused:
            raise BrokerError(f"the cut {name} was not saved: {refused[:1] or 'no answer in time'}")

    def _records(self) -> Iterator[Record]:
        topic = self._namespace.topic(STATE)
        starts = self._reader.starts([topic])
        for source, end in self._reader.ends([topic]):
            for batch in self._reader.read(source, starts[source], end):
                yield from batch
