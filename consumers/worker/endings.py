"""Endings: what goes on the log with the outcome of a record, besides the outcome itself.

- handled: the handlers' outputs; an acknowledgement, if its sender asked for one (S3.9)
- dead-lettered: the outputs of those handlers that ended well; the dead letter; an error, if it was
  a request, so that whoever asked need not wait for its timeout
- expired, skipped: the outputs of those handlers that ended well in an earlier attempt
- whichever it is: the effects that its handlers had outside of the log
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from consumers.failure import Failure
from consumers.journal import Ending, Outcome, Output
from consumers.outbox import Outbox
from consumers.worker.assignment import Delivery
from consumers.worker.opening import Closed, Opened
from streams.answers import failed
from streams.envelope import Envelope, Kind
from streams.errors import DecodeError, EnvelopeError
from streams.record import Record

Outputs = Mapping[str, Sequence[Output]]
"""By handler's name."""

_ASK: Final = frozenset({Kind.REQUEST, Kind.COMMAND})
_log: Final = structlog.get_logger("agentlog.worker")


class Endings:
    """Makes the outputs of one worker's outcomes."""

    def __init__(self, outbox: Outbox, *, group: str, run_id: str) -> None:
        self._outbox = outbox
        self._group = group
        self._run_id = run_id

    def handled(self, delivery: Delivery, opened: Opened, outputs: Outputs) -> list[Output]:
        """All handlers ended well."""
        envelope = opened.envelope
        found = [*_in_order(opened, outputs), *_effects(delivery)]
        if envelope.requires_ack and envelope.sender:
            found += _told(delivery, self._outbox.acknowledgement, delivery.record, envelope)
        return found

    def closed(self, delivery: Delivery, closed: Closed) -> list[Output]:
        """It ended before any handler ran, or before those ran again that had failed."""
        found = [output for outputs in (delivery.done or {}).values() for output in outputs]
        found += _effects(delivery)
        if closed.ending.outcome is Outcome.DEAD_LETTERED:
            found += self._dead_letter(delivery, closed.ending, (), "")
            with contextlib.suppress(DecodeError):  # it may be dead for that very reason
                record = delivery.record
                envelope = self._outbox.codec.decode(record.value, record.headers)
                found += self._answer(delivery, envelope, closed.ending)
        return found

    def failed(
        self,
        delivery: Delivery,
        opened: Opened,
        outputs: Outputs,
        failures: Sequence[Failure],
        ending: Ending,
    ) -> list[Output]:
        """There is no further attempt for some of its handlers; `failures[0]` says why."""
        envelope, names = opened.envelope, [one.handler for one in failures]
        found = [*_in_order(opened, outputs), *_effects(delivery)]
        found += self._dead_letter(delivery, ending, names, failures[0].stack)
        return found + self._answer(delivery, envelope, ending)

    def _answer(self, delivery: Delivery, envelope: Envelope, ending: Ending) -> list[Output]:
        """An error to whoever asked, if it was a request or a command."""
        if envelope.kind not in _ASK or not envelope.reply_to:
            return []
        answer = failed(envelope, str(ending.reason), ending.detail)
        return _told(delivery, self._outbox.answer, delivery.record, envelope, answer)

    def _dead_letter(
        self, delivery: Delivery, ending: Ending, handlers: Sequence[str], stack: str
    ) -> list[Output]:
        return self._outbox.dead_letter(
            delivery.record,
            group=self._group,
            handlers=handlers,
            attempts=delivery.attempt,
            error_name=str(ending.reason),
            error_message=ending.detail,
            stack=stack,
            failed_at_ms=self._outbox.clock.now_us() // 1000,
            context={"app": self._outbox.app_name, "run_id": self._run_id},
        )


def _told(
    delivery: Delivery, make: Callable[..., list[Output]], *values: Record | Envelope
) -> list[Output]:
    """What tells the sender; nothing if it named itself so that it cannot be told."""
    try:
        return make(*values)
    except EnvelopeError as error:
        _log.warning("sender_not_told", record=str(delivery.record), error=str(error))
        return []


def _effects(delivery: Delivery) -> list[Output]:
    """What was done was done, also by handlers that did not end well."""
    effects = delivery.effects
    return [output for one in effects.values() for output in one.outputs] if effects else []


def _in_order(opened: Opened, outputs: Outputs) -> list[Output]:
    return [output for name in opened.names for output in outputs.get(name, ())]
