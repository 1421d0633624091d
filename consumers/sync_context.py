"""The context of a sync handler: what it calls from its thread happens on the worker's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from consumers.context import Context
from consumers.failure import Failure
from streams.answers import Answer
from streams.client import TIMEOUT_S
from streams.dead_letters import DeadLetter
from streams.envelope import Envelope
from streams.record import Record

T = TypeVar("T")


class SyncContext:
    """A `Context` for `def` handlers: the same names, each call blocks until it is done.

    Nothing interrupts a thread: a handler that takes long looks at `cancelled` now and then.
    """

    def __init__(self, ctx: Context, loop: asyncio.AbstractEventLoop) -> None:
        self._ctx = ctx
        self._loop = loop

    @property
    def record(self) -> Record:
        """Where it came from."""
        return self._ctx.record

    @property
    def envelope(self) -> Envelope:
        """What is handled."""
        return self._ctx.envelope

    @property
    def payload(self) -> Mapping[str, Any]:
        """Its payload."""
        return self._ctx.payload

    @property
    def handler(self) -> str:
        """Name of the handler that runs."""
        return self._ctx.handler

    @property
    def attempt(self) -> int:
        """Counts from 1, anew in a process that takes over."""
        return self._ctx.attempt

    @property
    def last_failure(self) -> Failure | None:
        """How the attempt before this one failed."""
        return self._ctx.last_failure

    @property
    def cancelled(self) -> bool:
        """True once nobody wants the result any more: what it publishes then is dropped."""
        return self._ctx.cancelled

    @property
    def agent(self) -> str:
        """Id of the agent that it runs as."""
        return self._ctx.agent

    @property
    def idempotency_key(self) -> str:
        """For effects outside the log, the same for every run."""
        return self._ctx.idempotency_key

    @property
    def dead_letter(self) -> DeadLetter | None:
        """Why this record is a dead letter, if it is."""
        return self._ctx.dead_letter

    @property
    def log(self) -> Any:
        """A structlog logger with the ids of the run bound."""
        return self._ctx.log

    def publish(self, envelope: Envelope) -> Envelope:
        """As `Context.publish`."""
        return self._on_loop(lambda: self._ctx.publish(envelope))

    def respond(self, data: Any) -> Envelope:
        """As `Context.respond`."""
        return self._on_loop(lambda: self._ctx.respond(data))

    def fail(self, error_name: str, message: str) -> Envelope:
        """As `Context.fail`."""
        return self._on_loop(lambda: self._ctx.fail(error_name, message))

    def effect(self, name: str, do: Callable[[str], Any]) -> Any:
        """As `Context.effect`, for a plain function."""
        return self._on_loop(lambda: self._ctx.effect(name, do))

    def resubmit(self, note: str = "") -> None:
        """As `Context.resubmit`."""
        self._on_loop(lambda: self._ctx.resubmit(note))

    def request(
        self, to: str, payload: Envelope | Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
    ) -> Answer:
        """As `Context.request`."""
        return self._on_loop(lambda: self._ctx.request(to, payload, timeout_s=timeout_s))

    def send_now(self, envelope: Envelope) -> Envelope:
        """As `Context.send_now`."""
        return self._on_loop(lambda: self._ctx.send_now(envelope))

    def _on_loop(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return asyncio.run_coroutine_threadsafe(make(), self._loop).result()
