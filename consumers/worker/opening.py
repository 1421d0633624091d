"""Opening a record: read it, and decide what is to be done with it before any handler runs.

The decisions are a ladder; the first that fits ends the record, with no handler and no attempt:

    crashed      whoever ran it died, twice, and nothing ran beside it        dead letter
    replay       it repeats an envelope for those who watch a replay          skipped
    redrive      it goes back to another group, that could not finish it      skipped
    duplicate    a record with its id, key and redrive is a little before it  skipped
    undecodable  its schema is unknown, or its bytes are not what that says   dead letter
    import       it is history, not work (unless the app takes that too)      skipped
    cancelled    somebody cancelled it before it came                         skipped
    expired      its time to live is over (S3.8); a redrive has no end        expired
    no handler   nothing here takes its type (S3.7)                           skipped
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import structlog

from consumers.app import App, Handler
from consumers.journal import Ending, Outcome, Reason
from consumers.journal.outcomes import DUPLICATE, EXPIRED, IMPORT, NO_HANDLER, REDRIVE, REPLAY
from consumers.outbox import Outbox
from consumers.worker.assignment import STARTS_MAX, Delivery
from consumers.worker.cancelled import CancelledIds
from streams import headers
from streams.dead_letters import DLQ_TOPIC, redrive_of
from streams.envelope import Envelope
from streams.errors import DecodeError, UnknownSchema
from streams.schemas import StoredPayload

TYPES_MAX: Final = 10_000
"""Payload types whose handlers are remembered, and that are warned of: anybody may invent one."""

_IMPORTED: Final = "import:"
_NAMES: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_log: Final = structlog.get_logger("agentlog.worker")


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A record that is to be handled."""

    envelope: Envelope
    payload: Mapping[str, Any]
    handlers: Sequence[Handler]
    """Those to run now: not those that ended well in an earlier attempt."""
    names: Sequence[str]
    """All of the record's handlers, in order of registration."""
    delivery_ms: int


class Closed(msgspec.Struct, frozen=True, gc=False):
    """A record that has ended before any handler ran."""

    ending: Ending
    envelope_id: str = ""
    """As far as it is known."""
    delivery_ms: int | None = None
    """None for what nobody was to handle."""


class Opening:
    """Opens records for one worker."""

    def __init__(self, app: App, outbox: Outbox, cancelled: CancelledIds, *, group: str) -> None:
        self._app = app
        self._outbox = outbox
        self._cancelled = cancelled
        self._group = group.encode()
        self._names: dict[str, tuple[Sequence[Handler], Sequence[str]]] = {}

    def open(self, delivery: Delivery) -> Opened | Closed:
        """What is to be done with a record. Raises if its schema cannot be asked for."""
        if delivery.odd and (ending := self._odd(delivery)) is not None:
            return Closed(ending, _id_of(delivery))
        record, outbox = delivery.record, self._outbox
        try:
            envelope = outbox.codec.decode(record.value, record.headers)
            if (ending := self._unwanted(delivery, envelope)) is not None:
                return Closed(ending, envelope.id)
            stored = envelope.payload
            payload = stored.fields if type(stored) is StoredPayload else stored
        except DecodeError as error:
            return Closed(_undecodable(delivery, error), _id_of(delivery))
        handlers, names = self._handlers(envelope.type)
        delivery_ms = outbox.clock.now_us() // 1000 - record.appended_at_ms
        if not handlers:
            return Closed(NO_HANDLER, envelope.id, delivery_ms)
        if delivery.done or (delivery.odd and not _is_dead_letter(delivery)):
            envelope, handlers = _narrowed(delivery, envelope, handlers)
        return Opened(envelope, payload, handlers, names, delivery_ms)

    def _odd(self, delivery: Delivery) -> Ending | None:
        """The ladder's upper part: what headers and marks say."""
        found = dict(delivery.record.headers)
        if delivery.crashed:
            detail = f"its process died {STARTS_MAX} times while it ran alone"
            return Ending(Outcome.DEAD_LETTERED, Reason.CRASHED, detail)
        if headers.REPLAY_OF in found:
            return REPLAY
        redrive_for = found.get(headers.REDRIVE_FOR)
        others = redrive_for is not None and redrive_for != self._group
        if others and DLQ_TOPIC not in found:
            return REDRIVE
        return DUPLICATE if delivery.duplicate else None

    def _unwanted(self, delivery: Delivery, envelope: Envelope) -> Ending | None:
        """The ladder's lower part: what the envelope says."""
        if envelope.headers and self._app.skip_imports:
            origin = envelope.origin
            if origin is not None and origin.startswith(_IMPORTED):
                return IMPORT
        if _is_dead_letter(delivery):
            return None  # cancelled or expired as it may be: it is here to be looked at
        if len(self._cancelled):
            reason = self._cancelled.reason(envelope.id)
            if reason is not None:
                return Ending(Outcome.SKIPPED, Reason.CANCELLED, reason)
        if envelope.ttl_ms > 0 and not (delivery.odd and redrive_of(delivery.record.headers)):
            now_ms = self._outbox.clock.now_us() // 1000
            if now_ms - envelope.created_at // 1000 > envelope.ttl_ms:
                return EXPIRED
        return None

    def _handlers(self, type_name: str) -> tuple[Sequence[Handler], Sequence[str]]:
        found = self._names.get(type_name)
        if found is None:
            handlers = self._app.handlers_for(type_name)
            found = handlers, tuple(one.name for one in handlers)
            if len(self._names) >= TYPES_MAX:
                return found
            self._names[type_name] = found
            if not handlers:  # once per type; the journal has every record
                _log.warning("no_handler", type=type_name, app=self._app.name)
        return found


def _is_dead_letter(delivery: Delivery) -> bool:
    return delivery.odd and headers.header(delivery.record.headers, DLQ_TOPIC) is not None


def _narrowed(
    delivery: Delivery, envelope: Envelope, handlers: Sequence[Handler]
) -> tuple[Envelope, Sequence[Handler]]:
    """A redrive and a retry run only the handlers that failed before."""
    redrive = redrive_of(delivery.record.headers)
    if redrive:
        envelope = envelope.with_(retry_count=redrive)
        wanted = _failed_before(headers.header(delivery.record.headers, headers.REDRIVE_HANDLERS))
        handlers = [one for one in handlers if one.name in wanted] or handlers
    if delivery.done:
        handlers = [one for one in handlers if one.name not in delivery.done]
    return envelope, handlers


def _failed_before(names: bytes | None) -> Sequence[str]:
    try:
        return _NAMES(names) if names else ()
    except (ValueError, msgspec.MsgspecError):
        return ()


def _id_of(delivery: Delivery) -> str:
    """The envelope's id as the headers say it."""
    found = headers.header(delivery.record.headers, headers.CE_ID)
    return found.decode("utf-8", "replace") if found else ""


def _undecodable(delivery: Delivery, error: DecodeError) -> Ending:
    _log.warning("undecodable", record=str(delivery.record), error=str(error))
    reason = Reason.UNKNOWN_SCHEMA if isinstance(error, UnknownSchema) else Reason.UNDECODABLE
    return Ending(Outcome.DEAD_LETTERED, reason, str(error))
