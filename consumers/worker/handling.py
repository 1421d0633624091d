"""Handling: one attempt of a record's handlers, to outputs and failures."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import traceback
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Final

from consumers.app import Handler
from consumers.context import Context
from consumers.current_run import RunCell, current_run
from consumers.failure import Failure
from consumers.journal import Output
from consumers.outbox import Outbox
from consumers.sync_context import SyncContext
from consumers.worker.assignment import Delivery
from streams.envelope import Envelope
from streams.errors import AgentlogError

Attempted = tuple[dict[str, Sequence[Output]], list[Failure]]
"""Outputs of the handlers that ended well, by name in order of registration; the failures."""

STACK_CHARS_MAX: Final = 32 * 1024
"""Kept of a failure's stack; a dead letter keeps less."""


class HandlerTimedOut(AgentlogError):
    """A handler took longer than its `timeout_s`."""


class Handling:
    """Runs handlers for one worker."""

    def __init__(self, outbox: Outbox, executor: Executor) -> None:
        self._outbox = outbox
        self._executor = executor

    async def attempt(
        self,
        handlers: Sequence[Handler],
        delivery: Delivery,
        envelope: Envelope,
        payload: Mapping[str, Any],
        cell: RunCell,
    ) -> Attempted:
        """All these handlers side by side (S3.7). `cell` is the running task's.

        Raises `CancelledError` if the task was cancelled, and what is no `Exception`.
        """
        if delivery.effects is None:
            delivery.effects = {}  # what one attempt did, the next need not do again
        if len(handlers) == 1:
            [handler] = handlers
            ctx = cell.ctx = self._context(handler, delivery, envelope, payload)
            failure = await self._run(handler, ctx, payload)
            return ({}, [failure]) if failure is not None else ({ctx.handler: ctx.outputs}, [])
        contexts = [self._context(handler, delivery, envelope, payload) for handler in handlers]
        runs = [
            self._run_beside(handler, ctx, payload)
            for handler, ctx in zip(handlers, contexts, strict=True)
        ]
        # All end before any of it counts; a cancelled gather raises when they have.
        results = []
        for ended in await asyncio.gather(*runs, return_exceptions=True):
            if isinstance(ended, BaseException):
                raise ended
            results.append(ended)
        outputs: dict[str, Sequence[Output]] = {
            ctx.handler: ctx.outputs
            for ctx, failure in zip(contexts, results, strict=True)
            if failure is None
        }
        return outputs, [failure for failure in results if failure is not None]

    def _context(
        self,
        handler: Handler,
        delivery: Delivery,
        envelope: Envelope,
        payload: Mapping[str, Any],
    ) -> Context:
        return Context(
            self._outbox,
            delivery.record,
            envelope,
            payload,
            handler.name,
            attempt=delivery.attempt,
            assignment=delivery.assignment.token,
            last_failure=delivery.failure,
            effects=delivery.effects,
        )

    async def _run_beside(
        self, handler: Handler, ctx: Context, payload: Mapping[str, Any]
    ) -> Failure | None:
        current_run.set(RunCell(ctx))  # this task's own
        return await self._run(handler, ctx, payload)

    async def _run(
        self, handler: Handler, ctx: Context, payload: Mapping[str, Any]
    ) -> Failure | None:
        function: Any = handler.function
        try:
            if not handler.is_async:
                await self._run_on_thread(function, ctx, payload)
            elif handler.timeout_s is None:
                await function(ctx, payload)
            else:
                await _run_within(handler.timeout_s, function, ctx, payload)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it raises, it has failed
            return self._failure(ctx, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                ctx.cancelled = True
                raise
            # Not by us: something that it awaited was cancelled, and it let that through.
            return self._failure(ctx, error)
        else:
            return None
        finally:
            ctx.end()

    def _failure(self, ctx: Context, error: BaseException) -> Failure:
        stack = "".join(traceback.format_exception(error))[-STACK_CHARS_MAX:]
        return Failure(ctx.handler, error, stack, self._outbox.clock.now_us() // 1000)

    async def _run_on_thread(self, function: Any, ctx: Context, payload: Mapping[str, Any]) -> None:
        """Until it returns, even if interrupted: until then its key is not free."""
        loop = asyncio.get_running_loop()
        call = functools.partial(
            contextvars.copy_context().run, _call, function, SyncContext(ctx, loop), payload
        )
        running = loop.run_in_executor(self._executor, call)
        interrupted: asyncio.CancelledError | None = None
        while not running.done():
            try:
                await asyncio.wait({running})
            except asyncio.CancelledError as error:
                interrupted = error
                ctx.cancelled = True
        if interrupted is not None:
            running.exception()  # heard, so that nobody warns of it
            raise interrupted
        running.result()


def _call(function: Any, ctx: SyncContext, payload: Mapping[str, Any]) -> None:
    try:
        function(ctx, payload)
    except StopIteration as error:  # no future takes that: nobody would ever hear of the end
        raise RuntimeError(f"{ctx.handler} raised StopIteration") from error


async def _run_within(
    timeout_s: float, function: Any, ctx: Context, payload: Mapping[str, Any]
) -> None:
    limit = asyncio.timeout(timeout_s)
    try:
        async with limit:
            await function(ctx, payload)
    except TimeoutError as error:
        if not limit.expired():
            raise  # the handler's own
        raise HandlerTimedOut(f"{ctx.handler} took longer than {timeout_s:g} s") from error
