"""Handling: one record through its handlers, to outputs or to a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import structlog

from consumers.app import Handler
from consumers.context import Context, Outbox, current_context
from consumers.journal import Ending, Outcome, Output, Reason
from streams.envelope import Envelope
from streams.errors import AgentlogError, DecodeError, UnknownSchema
from streams.record import Record

_log: Final = structlog.get_logger("agentlog.worker")


class HandlerFailed(AgentlogError):
    """A handler raised; its record stays uncommitted."""

    def __init__(self, handler: str, record: Record, error: BaseException) -> None:
        super().__init__(f"handler {handler} failed on {record}: {type(error).__name__}: {error}")
        self.handler = handler
        self.record = record


async def run_handlers(
    handlers: Sequence[Handler],
    outbox: Outbox,
    record: Record,
    envelope: Envelope,
    payload: Mapping[str, Any],
) -> Sequence[Output]:
    """All handlers of a record side by side (S3.7); their outputs in order of registration.

    Raises `HandlerFailed` if one raised.
    """
    if len(handlers) == 1:
        return await _run(handlers[0], outbox, record, envelope, payload)
    runs = (_run(handler, outbox, record, envelope, payload) for handler in handlers)
    outputs: list[Output] = []
    for result in await asyncio.gather(*runs, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
        outputs += result
    return outputs


async def _run(
    handler: Handler,
    outbox: Outbox,
    record: Record,
    envelope: Envelope,
    payload: Mapping[str, Any],
) -> Sequence[Output]:
    ctx = Context(outbox, record, envelope, payload, handler.name)
    current_context.set(ctx)
    try:
        await handler.function(ctx, payload)
    except (Exception, SystemExit) as error:  # sys.exit() would end the worker as if it were done
        ctx.log.exception("handler_failed")
        raise HandlerFailed(handler.name, record, error) from error
    finally:
        ctx.end()
    return ctx.outputs


def undecodable(record: Record, error: DecodeError) -> Ending:
    """How a record ends that cannot be read: skipped, with the reason in the journal."""
    _log.warning("undecodable", record=str(record), error=str(error))
    reason = Reason.UNKNOWN_SCHEMA if isinstance(error, UnknownSchema) else Reason.UNDECODABLE
    return Ending(Outcome.SKIPPED, reason, str(error))
