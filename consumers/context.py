"""What a handler gets: the record it runs on, and the ways to act that commit with it."""

from __future__ import annotations

import random
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from typing import Any, Final

import msgspec
import structlog

from consumers.journal.outcomes import Output
from streams import outgoing
from streams.envelope import Envelope, Kind
from streams.identity import derived_id
from streams.kafka.schema_topic import schema_record
from streams.ports import Clock
from streams.record import Record
from streams.schemas import Codec
from streams.topics import INBOX, SCHEMAS, Namespace

RECORD_BYTES_MAX: Final = 1_000_000
"""Largest output (key + value + headers) unless told otherwise, in bytes."""

current_context: ContextVar[Context | None] = ContextVar("agentlog_context", default=None)
"""The context of the handler that runs in this task; None outside of handlers."""


def add_record_ids(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """A structlog processor: what a handler logs carries the ids of what it runs on."""
    ctx = current_context.get()
    if ctx is not None:
        for name, value in ctx.ids.items():
            event.setdefault(name, value)
    return event


class Outbox:
    """Turns a handler's envelopes into records: what all contexts of one worker share."""

    def __init__(
        self,
        codec: Codec,
        namespace: Namespace,
        clock: Clock,
        *,
        app_name: str,
        writer: str | None = None,
        record_bytes_max: int = RECORD_BYTES_MAX,
    ) -> None:
        self.codec = codec
        self.clock = clock
        self.app_name = app_name
        self.writer = writer
        """The process run that writes: the audit tells groups' outputs apart by it."""
        self.types_used: set[str] = set()
        """Payload types of all envelopes so far: their schemas must be on the log with them."""
        self._topics: dict[str, str] = {}
        self._namespace = namespace
        self._inbox = namespace.topic(INBOX)
        self._outgoing = outgoing.Outbox(
            codec,
            sender=app_name,
            clock=clock,
            rng=random.Random(0),
            record_bytes_max=record_bytes_max,
            namespace=namespace,
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

    def records(self, envelope: Envelope) -> list[Output]:
        """The records of a stamped envelope, one per route, encoded and checked.

        Raises the `EnvelopeError` that says what is wrong; nothing is kept then.
        """
        ready = self._outgoing.prepare(envelope)
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
        key, value = schema_record(self.codec.catalogue.type(type_name).writer)
        return Output(self._namespace.topic(SCHEMAS), key, value, [])


class Context:
    """One run of one handler on one record.

    Outputs count only if the handler returns: they are written in the transaction that records
    the outcome, or never.
    """

    __slots__ = (
        "_ended",
        "_outbox",
        "_published",
        "attempt",
        "envelope",
        "handler",
        "outputs",
        "payload",
        "record",
    )

    def __init__(
        self,
        outbox: Outbox,
        record: Record,
        envelope: Envelope,
        payload: Mapping[str, Any],
        handler: str,
    ) -> None:
        self.record = record
        """Where it came from: full topic name, partition, position, key, headers."""
        self.envelope = envelope
        self.payload = payload
        self.handler = handler
        """Name of the handler that runs."""
        self.attempt = 1
        """Counts from 1."""
        self.outputs: list[Output] = []
        """Records that its envelopes have become so far."""
        self._outbox = outbox
        self._published = 0
        self._ended = False

    @property
    def agent(self) -> str:
        """Id of the agent that it runs as: the inbox's owner, the only recipient, else the app."""
        return self._outbox.agent_of(self.record, self.envelope)

    @property
    def idempotency_key(self) -> str:
        """The same for every run of this handler, as this agent, on this envelope: for effects
        outside the log.
        """
        return f"{self.envelope.id}:{self.agent}:{self._name}"

    @property
    def _name(self) -> str:
        # Two groups may well name their handlers alike.
        return f"{self._outbox.app_name}:{self.handler}"

    @property
    def ids(self) -> dict[str, Any]:
        """What log lines say about the run."""
        ids = {
            "id": self.envelope.id,
            "type": self.envelope.type,
            "correlation_id": self.envelope.correlation_id,
            "handler": self.handler,
            "attempt": self.attempt,
            "record": str(self.record),
        }
        return {name: value for name, value in ids.items() if value is not None}

    @property
    def log(self) -> Any:
        """A structlog logger with the ids of the run bound."""
        return structlog.get_logger("agentlog.handler").bind(**self.ids)

    async def publish(self, envelope: Envelope) -> Envelope:
        """Send an envelope, if and when this record's outcome commits; returns it stamped.

        It gets a derived id, `causation_id` = the handled envelope's id, the time, and, unless it
        has its own, that one's `correlation_id` (or id, if it has none) and this agent as sender.

        It is encoded at once: an `EnvelopeError` (unknown type, a payload that does not fit, no
        route, too large) is raised here, in the handler, and nothing is sent.
        """
        if self._ended:
            raise RuntimeError(
                f"{self.handler} has ended: what it publishes now could not commit with "
                f"{self.record}; await it inside the handler"
            )
        source, record, outbox = self.envelope, self.record, self._outbox
        stamped: Envelope = msgspec.structs.replace(
            envelope,
            id=derived_id(
                record.appended_at_ms,
                record.topic,
                record.partition,
                record.position,
                self._name,
                self._published,
            ),
            kind=outbox.kind_of(envelope),
            sender=envelope.sender or self.agent,
            causation_id=source.id,
            correlation_id=envelope.correlation_id or source.correlation_id or source.id,
            created_at=outbox.clock.now_us(),
            writer=outbox.writer,
        )
        self.outputs += outbox.records(stamped)
        self._published += 1
        return stamped

    def end(self) -> None:
        """The handler returned or raised: nothing may be published any more."""
        self._ended = True
