"""The outbox: a handler's envelopes as records, and what a worker adds to them."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any, Final, Protocol

import msgspec

from consumers.journal.outcomes import Output
from streams import outgoing
from streams.answers import Answer
from streams.dead_letters import dead_letter_headers
from streams.envelope import Envelope, Kind
from streams.errors import ConfigurationError
from streams.identity import derived_id
from streams.kafka.schema_topic import schema_record
from streams.ports import Clock
from streams.record import Record
from streams.schemas import Codec
from streams.topics import INBOX, SCHEMAS, STATE, TOPICS, Namespace
from streams.topics.catalogue import dlq

RECORD_BYTES_MAX: Final = 1_000_000
"""Largest output (key + value + headers) unless told otherwise, in bytes."""
ACKNOWLEDGED: Final = "agentlog.message.Acknowledged"


class AtOnce(Protocol):
    """The way around the transaction."""

    async def send(self, envelope: Envelope) -> None:
        """Put a stamped envelope on the log."""
        ...

    async def request(
        self, to: str, payload: Envelope | Mapping[str, Any], timeout_s: float
    ) -> Answer:
        """Ask an agent, and wait for its answer."""
        ...


class Outbox:
    """Turns a handler's envelopes into records: what all contexts of one worker share.

    A worker without a way around the transaction refuses what would take it.
    """

    def __init__(
        self,
        codec: Codec,
        namespace: Namespace,
        clock: Clock,
        *,
        app_name: str,
        writer: str | None = None,
        record_bytes_max: int = RECORD_BYTES_MAX,
        at_once: AtOnce | None = None,
    ) -> None:
        self.codec = codec
        self.clock = clock
        self.app_name = app_name
        self.writer = writer
        """The process run that writes: the audit tells groups' outputs apart by it."""
        self.types_used: set[str] = set()
        """Payload types of all envelopes so far: their schemas must be on the log with them."""
        self._at_once = at_once
        self._dead_letters = {
            namespace.topic(name): namespace.topic(dlq(name))
            for name in TOPICS
            if dlq(name) in TOPICS
        }
        self._topics: dict[str, str] = {}
        self._namespace = namespace
        self._inbox = namespace.topic(INBOX)
        self._outgoing, self._journal = (
            outgoing.Outbox(
                codec,
                sender=app_name,
                clock=clock,
                rng=random.Random(0),
                record_bytes_max=bytes_max,
                namespace=namespace,
            )
            # The journal has bounds of its own, and must be written whatever others may send.
            for bytes_max in (record_bytes_max, RECORD_BYTES_MAX)
        )

    def agent_of(self, record: Record, envelope: Envelope) -> str:
        """Who a record is handled as: the inbox's owner, the only recipient, else the app."""
        if record.topic == self._inbox and record.key:
            return record.key.decode("utf-8", "replace")
        if len(envelope.recipients) == 1:
            return envelope.recipients[0]
        return self.app_name

    def kind_of(self, envelope: Envelope) -> Kind:
        """The envelope's kind, else its type's own. Raises `UnknownType`."""
        if envelope.kind is not Kind.UNKNOWN:
            return envelope.kind
        return self.codec.catalogue.type(envelope.type).kind

    def records(self, envelope: Envelope, *, versioned: bool = False) -> list[Output]:
        """The records of a stamped envelope, one per route, encoded and checked.

        `versioned` for an event with its place in its stream. Raises the `EnvelopeError` that says
        what is wrong; nothing is kept then.
        """
        return self._made(self._outgoing, envelope, versioned=versioned)

    def cached(self, made: Output, key: str) -> Output:
        """The same record on the compacted `state` topic, under this key."""
        topic = self._namespace.topic(STATE)
        return msgspec.structs.replace(made, topic=topic, key=key.encode(), partition=None)

    def journal(self, envelope: Envelope) -> list[Output]:
        """The record of a journal envelope."""
        return self._made(self._journal, envelope.with_(kind=self.kind_of(envelope)))

    def _made(
        self, outgoing_: outgoing.Outbox, envelope: Envelope, *, versioned: bool = False
    ) -> list[Output]:
        ready = outgoing_.prepare(envelope, versioned=versioned)
        self.types_used.add(envelope.type)
        return [
            Output(self._full(logical), key, ready.value, ready.headers)
            for logical, key in ready.routes
        ]

    def _full(self, logical: str) -> str:
        topic = self._topics.get(logical)
        if topic is None:
            topic = self._topics[logical] = self._namespace.topic(logical)
        return topic

    def schema_record(self, type_name: str) -> Output:
        """The record that announces a payload type's writer schema on the `schemas` topic."""
        key, value = schema_record(self.codec.catalogue.type(type_name).wire)
        return Output(self._namespace.topic(SCHEMAS), key, value, [])

    @property
    def at_once(self) -> AtOnce:
        """The way around the transaction. Raises `ConfigurationError` if there is none."""
        if self._at_once is None:
            raise ConfigurationError("this worker has no publisher of its own to send at once")
        return self._at_once

    def acknowledgement(self, record: Record, envelope: Envelope) -> list[Output]:
        """The notice to its sender that an envelope was handled (S3.9)."""
        now_us = self.clock.now_us()
        return self.records(
            Envelope(
                type=ACKNOWLEDGED,
                payload={
                    "acknowledgment": True,
                    "original_message_id": envelope.id,
                    "processed_at": now_us,
                },
                id=self.derived_id(record, f"{self.app_name}:acknowledgement", 0),
                kind=Kind.NOTIFICATION,
                sender=self.agent_of(record, envelope),
                recipients=(envelope.sender,),
                correlation_id=envelope.id,
                causation_id=envelope.id,
                created_at=now_us,
                writer=self.writer,
            )
        )

    def answer(self, record: Record, request: Envelope, answer: Envelope) -> list[Output]:
        """The worker's own answer to a request that no handler could answer."""
        return self.records(
            answer.with_(
                id=self.derived_id(record, f"{self.app_name}:answer", 0),
                sender=self.agent_of(record, request),
                created_at=self.clock.now_us(),
                writer=self.writer,
            )
        )

    def dead_letter(self, record: Record, **facts: Any) -> list[Output]:
        """The record as a dead letter: its own bytes, and headers that say why.

        `facts` are those of `streams.dead_letters.dead_letter_headers`. Empty where its topic has
        no dead letters: it is one itself, or an answer; it stays where it is.
        """
        topic = self._dead_letters.get(record.topic)
        if topic is None:
            return []
        return [Output(topic, record.key, record.value, dead_letter_headers(record, **facts))]

    @staticmethod
    def derived_id(record: Record, name: str, n: int) -> str:
        """The id of the n-th envelope that `name` (`<app>:<handler>`) sends because of a record."""
        return derived_id(
            record.appended_at_ms, record.topic, record.partition, record.position, name, n
        )
