"""Runners: the tasks that run records, and how each attempt ends.

A runner takes one record after the other while there are any. A record whose handlers never suspend
costs no task of its own; one that waits keeps its runner, and others go on. A runner whose handler
left something in its context variables ends, so that nothing of one record is seen by the next.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from consumers.app import App
from consumers.current_run import RunCell, current_run
from consumers.failure import EndsWorker, Failure
from consumers.journal import Ending, Outcome, Output, Reason, Settled
from consumers.journal.outcomes import HANDLED
from consumers.outbox import Outbox
from consumers.worker.assignment import Delivery
from consumers.worker.cancelled import CancelledIds
from consumers.worker.committer import Committer
from consumers.worker.core import Core
from consumers.worker.endings import Endings, Outputs
from consumers.worker.handling import Handling
from consumers.worker.opening import Closed, Opened, Opening
from streams.errors import AgentlogError
from streams.record import Record

RUNNERS_AT_ONCE: Final = 16
"""Runners begun in one go: enough to fill up soon, few enough to find nothing left to do."""
TURN_MAX: Final = 256
"""Records that all runners together take before the loop gets to do anything else."""

_log: Final = structlog.get_logger("agentlog.worker")


class Runners:
    """Runs what the core lets run, for one worker. `fail` ends the worker."""

    def __init__(
        self,
        app: App,
        core: Core,
        committer: Committer,
        outbox: Outbox,
        *,
        group: str,
        run_id: str,
        rng: random.Random,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._core = core
        self._committer = committer
        self._retry = app.retry
        self._rng = rng
        self._fail = fail
        self.cancelled = CancelledIds()
        self._opening = Opening(app, outbox, self.cancelled, group=group)
        self._executor = ThreadPoolExecutor(app.threads_max, thread_name_prefix="agentlog-handler")
        self._handling = Handling(outbox, self._executor)
        self._endings = Endings(outbox, group=group, run_id=run_id)
        self._running: dict[Delivery, asyncio.Task[None]] = {}
        """Records in handlers, and the runner that has each."""
        self._runners: set[asyncio.Task[None]] = set()
        self._waits: set[asyncio.TimerHandle] = set()
        self._dispatching = False
        self._turn = 0
        """Records taken since the loop last did anything else."""
        self._yielding = False
        """Whether a runner waits for the loop to come round again; it goes on then."""
        self.progress = asyncio.Event()
        """Set whenever a record has run."""

    @property
    def running(self) -> int:
        """Records in handlers."""
        return len(self._running)

    @property
    def retrying(self) -> int:
        """Records that wait for another attempt."""
        return len(self._waits)

    def close(self) -> None:
        """Nothing more is begun. A thread that no interruption reaches ends with the process."""
        for wait in self._waits:
            wait.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    # --- dispatch ----------------------------------------------------------------------------

    def dispatch_soon(self) -> None:
        """Something may run now."""
        if not self._dispatching:
            self._dispatching = True
            asyncio.get_running_loop().call_soon(self.dispatch)

    def dispatch(self) -> None:
        """Begin runners for what may run; whoever is left over finds nothing and ends."""
        self._dispatching = False
        if self._yielding or (first := self._take()) is None:
            return
        self._begin(first)
        for _ in range(min(RUNNERS_AT_ONCE, self._core.may_take) - 1):
            self._begin(None)
        if self._core.may_take:
            self.dispatch_soon()

    def _take(self) -> Delivery | None:
        delivery = self._core.take()
        if delivery is None and self._core.mark_due:
            self._committer.mark()
        return delivery

    def _begin(self, delivery: Delivery | None) -> None:
        runner = asyncio.create_task(self._run_all(delivery), name="runner")
        self._runners.add(runner)
        runner.add_done_callback(self._on_runner_done)

    def _on_runner_done(self, runner: asyncio.Task[None]) -> None:
        self._runners.discard(runner)
        if not runner.cancelled() and (error := runner.exception()) is not None:
            self._fail(error.cause if isinstance(error, EndsWorker) else error)
        self.dispatch_soon()

    async def _run_all(self, delivery: Delivery | None) -> None:
        """A runner: one record after the other, while there are any."""
        runner = asyncio.current_task()
        assert runner is not None
        cell = RunCell()
        current_run.set(cell)
        clean = contextvars.copy_context()
        while delivery is not None or (delivery := self._next()) is not None:
            try:
                await self._run(runner, delivery, cell)
            except BaseException:
                # Not heard of by the core yet, and whoever drains waits for it.
                self._core.finished(delivery, None)
                self.progress.set()
                raise
            delivery = cell.ctx = None
            self.progress.set()
            if contextvars.copy_context() != clean:
                return
            self._turn += 1
            if self._turn >= TURN_MAX and not self._yielding:
                await self._let_others()

    def _next(self) -> Delivery | None:
        """What a runner goes on with; nothing if another one does once the loop came round."""
        return None if self._yielding else self._take()

    async def _let_others(self) -> None:
        """Whatever else the loop has to do comes first: heartbeats, commits, cancels."""
        self._yielding = True
        try:
            await asyncio.sleep(0)
        finally:
            self._yielding = False
            self._turn = 0
        self.dispatch_soon()

    # --- one record --------------------------------------------------------------------------

    async def _run(self, runner: asyncio.Task[None], delivery: Delivery, cell: RunCell) -> None:
        """One attempt. The core hears how it ended; or this raises, and it has not yet."""
        if not delivery.assignment.live:  # lost since it was taken: nobody may interrupt it later
            self._core.finished(delivery, None)
            return
        try:
            opened = self._opening.open(delivery)
        except Exception as error:  # noqa: BLE001 - its schema cannot be asked for: none can go on
            self._fail(_unread(delivery.record, error))
            self._core.finished(delivery, None)
            return
        if isinstance(opened, Closed):
            outputs = self._endings.closed(delivery, opened)
            self._finish(delivery, opened.ending, opened.envelope_id, outputs, opened.delivery_ms)
            return
        delivery.attempt += 1
        delivery.envelope_id = opened.envelope.id
        self._running[delivery] = runner
        try:
            done, failures = await self._handling.attempt(
                opened.handlers, delivery, opened.envelope, opened.payload, cell
            )
        except asyncio.CancelledError:
            if delivery.interrupted is None:  # not by us: everything ends
                raise
            runner.uncancel()
            self._interrupted(delivery, opened)
            return
        finally:
            del self._running[delivery]
        if delivery.interrupted is not None:
            runner.uncancel()  # it ended all the same
        outputs_of = {**delivery.done, **done} if delivery.done else done
        if failures:
            self._failed(delivery, opened, outputs_of, failures)
        else:
            outputs = self._endings.handled(delivery, opened, outputs_of)
            self._finish(delivery, HANDLED, opened.envelope.id, outputs, opened.delivery_ms)

    def _interrupted(self, delivery: Delivery, opened: Opened) -> None:
        """Cancelled, which is an outcome; or its partition is given up, which is none."""
        reason = self.cancelled.reason(opened.envelope.id)
        if reason is None or not delivery.assignment.live:
            self._core.finished(delivery, None)
            return
        ending = Ending(Outcome.SKIPPED, Reason.CANCELLED, reason)
        outputs = self._endings.closed(delivery, Closed(ending))
        self._finish(delivery, ending, opened.envelope.id, outputs, opened.delivery_ms)

    def _failed(
        self, delivery: Delivery, opened: Opened, done: Outputs, failures: Sequence[Failure]
    ) -> None:
        """Another attempt for the handlers that failed, after a while; or a dead letter."""
        lot = self._rng.random()
        waits = [self._retry.wait_after(delivery.attempt, one.error, lot) for one in failures]
        retry_ms = None if None in waits else max(wait for wait in waits if wait is not None)
        if retry_ms is None:  # the failure that says so comes first
            failures = sorted(failures, key=lambda one: waits[failures.index(one)] is not None)
        delivery.failure = worst = failures[0]
        _log.warning(
            "handler_failed",
            handler=worst.handler,
            attempt=delivery.attempt,
            retry_ms=retry_ms,
            record=str(delivery.record),
            id=opened.envelope.id,
            error=f"{worst.name}: {worst.message}",
            stack=worst.stack,
        )
        if retry_ms is None:
            ending = Ending(Outcome.DEAD_LETTERED, worst.name, worst.message)
            outputs = self._endings.failed(delivery, opened, done, failures, ending)
            self._finish(delivery, ending, opened.envelope.id, outputs, opened.delivery_ms)
        elif delivery.assignment.live and not delivery.assignment.stopping:
            delivery.done = dict(done)
            self._core.parked(delivery)
            self._wait(retry_ms / 1000, delivery)
        else:
            self._core.finished(delivery, None)  # its next owner begins anew

    def _wait(self, wait_s: float, delivery: Delivery) -> None:
        def due() -> None:
            self._waits.discard(handle)
            if self._core.due(delivery):
                self.dispatch_soon()

        handle = asyncio.get_running_loop().call_later(wait_s, due)
        self._waits.add(handle)

    def _finish(
        self,
        delivery: Delivery,
        ending: Ending,
        envelope_id: str,
        outputs: Sequence[Output],
        delivery_ms: int | None,
    ) -> None:
        record = delivery.record
        settled = Settled(
            record.position,
            record.appended_at_ms,
            delivery.size,
            ending,
            envelope_id,
            tuple(outputs),
            delivery_ms,
        )
        self._core.finished(delivery, settled)
        self._committer.settled()

    # --- interrupting ------------------------------------------------------------------------

    def cancel(self, message_id: str, reason: str) -> None:
        """Do not run this envelope, or interrupt it at its next await."""
        self.cancelled.add(message_id, reason)
        self.interrupt(lambda delivery: delivery.envelope_id == message_id, reason)

    def interrupt(self, unwanted: Callable[[Delivery], bool], why: str) -> None:
        """Interrupt what runs and is unwanted, each at its next await."""
        for delivery in tuple(self._running):
            if unwanted(delivery):
                self._interrupt(delivery, why)

    def _interrupt(self, delivery: Delivery, why: str) -> None:
        """Once only: a second cancel would hit whatever the runner does next."""
        if delivery.interrupted is None:
            delivery.interrupted = why
            self._running[delivery].cancel()


def _unread(record: Record, error: Exception) -> AgentlogError:
    """Why a record could be neither read nor called unreadable: its schema cannot be asked for."""
    if isinstance(error, AgentlogError):
        return error
    return AgentlogError(f"cannot read {record}: {type(error).__name__}: {error}")
