"""The event loop's side of a worker: dispatch, outcomes, rebalancing, draining.

Everything here runs on one event loop; the two threads (source, transactions) only ever post to
it. What is decided is decided by `core` and `opening`; this performs it.

Handlers run in runners: tasks that take one record after the other while there are any. A record
whose handlers never suspend costs no task of its own; one that waits keeps its runner, and others
go on. A runner whose handler left something in its context variables ends, so that nothing of one
record is seen by the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import random
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import structlog

from consumers.app import App
from consumers.context import Failure, RunCell, current_run
from consumers.journal import Delivery as DeliveryMode
from consumers.journal import Ending, Outcome, Output, Reason, Settled
from consumers.journal.outcomes import HANDLED
from consumers.outbox import Outbox
from consumers.worker.cancelled import CancelledIds
from consumers.worker.committer import Committer
from consumers.worker.core import Core, Delivery, record_size
from consumers.worker.handling import Handling
from consumers.worker.opening import Opened, Opening
from consumers.worker.ports import Assigned, Source, Transactions
from consumers.worker.status import PartitionStatus, WorkerStatus, status_answer
from streams.answers import failed
from streams.envelope import Envelope, Kind
from streams.errors import AgentlogError, BrokerError
from streams.record import Partition, Record

RUNNERS_AT_ONCE: Final = 16
"""Runners begun in one go: enough to fill up soon, few enough to find nothing left to do."""
TURN_MAX: Final = 64
"""Records that a runner takes before the loop gets to do anything else."""
LATE_S_MAX: Final = 2.0
"""Seconds that interrupted handlers get to end before their partitions go on without them."""

_log: Final = structlog.get_logger("agentlog.worker")


class WorkerLoop:
    """Runs one app over one source until stopped. A `SourceListener`, and `Controlled`."""

    def __init__(
        self,
        app: App,
        core: Core,
        source: Source,
        transactions: Transactions,
        outbox: Outbox,
        *,
        group: str,
        run_id: str,
        rng: random.Random | None = None,
    ) -> None:
        self._app = app
        self._core = core
        self._source = source
        self._transactions = transactions
        self._outbox = outbox
        self._group = group
        self._run_id = run_id
        self._rng = rng or random.Random()
        self.cancelled = CancelledIds()
        self._opening = Opening(app, outbox, self.cancelled, group=group)
        self._executor = ThreadPoolExecutor(app.threads_max, thread_name_prefix="agentlog-handler")
        self._handling = Handling(outbox, self._executor)
        self._committer = Committer(
            core,
            transactions,
            outbox,
            group=group,
            run_id=run_id,
            linger_ms=app.commit_linger_ms,
            delivery=DeliveryMode(app.delivery),
            on_unknown=self._reload,
            on_committed=self._on_committed,
        )
        self._running: dict[Delivery, tuple[asyncio.Task[None], str]] = {}
        """Records in handlers: the runner that has each, and its envelope's id."""
        self._by_id: dict[str, set[Delivery]] = {}
        self._runners: set[asyncio.Task[None]] = set()
        self._dispatching = False
        self._held: frozenset[Partition] = frozenset()
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()
        self._progress = asyncio.Event()
        self._asides: set[asyncio.Task[None]] = set()
        """Revocations and reports under way."""
        self._started_at = outbox.clock.now_us()
        self._waits: set[asyncio.TimerHandle] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain and commit. Raises what ended it otherwise."""
        self._loop = asyncio.get_running_loop()
        self._source.start(self)
        committer = asyncio.create_task(self._committer.run(), name="committer")
        stopped = asyncio.create_task(stop.wait())
        ended = asyncio.create_task(self._ended.wait())
        try:
            await asyncio.wait({committer, stopped, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            ended.cancel()
            # Never cancelled: a commit that is under way must be heard to its end.
            self._committer.end()
            try:
                await committer
            except Exception as error:  # noqa: BLE001 - raised below, when all is put away
                self._fail(error)
            await self._shut_down()
        if self._failure is not None:
            raise self._failure

    async def _shut_down(self) -> None:
        sources = [assignment.source for assignment in self._core.assignments]
        self._core.stop()
        try:
            await self._settle(sources)
        except AgentlogError as error:
            self._fail(error)
        finally:
            await self._source.stop()
            await self._transactions.close()
            for wait in self._waits:
                wait.cancel()
            # Not waited for: a thread that no interruption reaches ends with the process.
            self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def stubborn(self) -> int:
        """Handlers that go on though they were interrupted."""
        return len(self._running)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            _log.error("worker_fails", error=str(error))
        self._core.stop()
        self._ended.set()

    # --- what the source tells ---------------------------------------------------------------

    def on_assigned(self, assigned: Sequence[Assigned]) -> None:
        """Open these partitions, then run what comes of them."""
        for one in assigned:
            self._core.assigned(one.token, one.source, one.position, one.mark, one.metadata)
        if self._ended.is_set():
            self._core.stop()
        else:
            self._committer.mark()
        _log.info("assigned", partitions=[str(one.source) for one in assigned])

    def on_records(self, batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        """Queue them in their lanes and start what may run."""
        for token, records in batches:
            self._core.delivered(token, records)
        if not self._dispatching:
            self._dispatch()

    def on_read_to(self, positions: Sequence[tuple[int, int]]) -> None:
        """Positions may move over what nobody sees."""
        for token, position in positions:
            self._core.read_to(token, position)
        self._dispatch_soon()

    def on_revoking(self, sources: Sequence[Partition], done: Callable[[], None]) -> None:
        """Stop, drain within the app's bound, commit, then let go."""
        self._core.stop(sources)

        async def settle() -> None:
            try:
                await self._settle(sources)
            except AgentlogError as error:
                self._fail(error)
            finally:
                done()

        task = asyncio.create_task(settle(), name="revoking")
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    def on_lost(self, sources: Sequence[Partition]) -> None:
        """Drop everything of theirs: it is another's now."""
        self._core.give_up(sources)
        self._interrupt_gone()
        if sources:
            _log.info("given_up", partitions=[str(source) for source in sources])
        self._dispatch_soon()

    def on_source_failed(self, error: BaseException) -> None:
        """Without a source there is nothing left to do."""
        self._fail(error if isinstance(error, AgentlogError) else BrokerError(str(error)))

    def _reload(self, sources: Sequence[Partition]) -> None:
        """Nobody knows whether these committed: only their committed positions do (H7)."""
        self._source.reload(sources)
        self._interrupt_gone()

    def _interrupt_gone(self) -> None:
        for delivery in tuple(self._running):
            if not delivery.assignment.live:
                self._interrupt(delivery, "its partition is another's now")

    def _on_committed(self) -> None:
        held = frozenset(self._core.held())
        if held != self._held:
            self._held = held
            self._source.hold(held)
            if held:
                _log.warning("mark_full", partitions=[str(source) for source in held])
        self._dispatch_soon()

    # --- what control tells ------------------------------------------------------------------

    def on_cancel(self, message_id: str, reason: str) -> None:
        """Do not run this envelope, or interrupt it at its next await."""
        self.cancelled.add(message_id, reason)
        for delivery in tuple(self._by_id.get(message_id, ())):
            self._interrupt(delivery, reason or "cancelled")

    def on_drain(self, target: str, reason: str) -> None:
        """End as if told to stop."""
        _log.info("drain", target=target, reason=reason)
        self._ended.set()

    def on_report(self, request: Envelope) -> None:
        """Say what it is doing to whoever asks."""
        task = self._loop.create_task(self._report(request), name="report")
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    async def _report(self, request: Envelope) -> None:
        send_now = self._outbox.send_now
        if send_now is None:
            return
        try:
            await send_now(status_answer(request, self.status()))
        except AgentlogError as error:
            _log.warning("status_unsent", error=str(error))

    def status(self) -> WorkerStatus:
        """What it is doing now."""
        core, now_us = self._core, self._outbox.clock.now_us()
        oldest = core.oldest()
        return WorkerStatus(
            group=self._group,
            run_id=self._run_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._started_at,
            reported_at=now_us,
            in_flight=sum(one.count for one in core.assignments),
            in_flight_bytes=sum(one.size for one in core.assignments),
            waiting=core.waiting,
            running=len(self._running),
            retrying=len(self._waits),
            oldest_key=(oldest.key or b"").decode("utf-8", "replace") if oldest else None,
            oldest_ms=max(0, now_us // 1000 - oldest.appended_at_ms) if oldest else 0,
            partitions=tuple(
                PartitionStatus(
                    topic=one.source.topic,
                    partition=one.source.index,
                    committed=one.tracker.committed,
                    read_to=one.tracker.read_to,
                    in_flight=one.count,
                    beyond=one.tracker.committed_beyond,
                )
                for one in core.assignments
            ),
        )

    # --- dispatch ----------------------------------------------------------------------------

    def _dispatch_soon(self) -> None:
        if not self._dispatching:
            self._dispatching = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        """Begin runners for what may run; whoever is left over finds nothing and ends."""
        self._dispatching = False
        first = self._take()
        if first is None:
            return
        self._begin(first)
        for _ in range(min(RUNNERS_AT_ONCE, self._core.may_take) - 1):
            self._begin(None)
        if self._core.may_take:
            self._dispatch_soon()

    def _take(self) -> Delivery | None:
        delivery = self._core.take()
        if delivery is None and self._core.mark_due:
            self._committer.mark()
        return delivery

    def _begin(self, delivery: Delivery | None) -> None:
        runner = self._loop.create_task(self._run_all(delivery), name="runner")
        self._runners.add(runner)
        runner.add_done_callback(self._on_runner_done)

    def _on_runner_done(self, runner: asyncio.Task[None]) -> None:
        self._runners.discard(runner)
        if not runner.cancelled() and (error := runner.exception()) is not None:
            self._fail(error)
        self._dispatch_soon()

    async def _run_all(self, delivery: Delivery | None) -> None:
        """A runner: one record after the other, while there are any."""
        runner = asyncio.current_task()
        assert runner is not None
        cell = RunCell()
        current_run.set(cell)
        clean = contextvars.copy_context()
        turn = 0
        while delivery is not None or (delivery := self._take()) is not None:
            await self._run(runner, delivery, cell)
            delivery = None
            cell.ctx = None
            if contextvars.copy_context() != clean:
                return
            turn += 1
            if turn >= TURN_MAX:
                turn = 0
                await asyncio.sleep(0)

    async def _run(self, runner: asyncio.Task[None], delivery: Delivery, cell: RunCell) -> None:
        """One attempt of one record. The core hears how it ended, whatever happens."""
        try:
            opened = self._opening.open(delivery)
        except Exception as error:  # noqa: BLE001 - its schema cannot be asked for: none can go on
            self._fail(_unread(delivery.record, error))
            self._core.finished(delivery, None)
            return
        if isinstance(opened, Opened):
            await self._handle(runner, delivery, opened, cell)
        else:
            buried = self._buried(delivery, opened.ending, None)
            self._finish(delivery, opened.ending, opened.envelope_id, buried, opened.delivery_ms)
        self._progress.set()

    async def _handle(
        self, runner: asyncio.Task[None], delivery: Delivery, opened: Opened, cell: RunCell
    ) -> None:
        delivery.attempt += 1
        envelope = opened.envelope
        self._running[delivery] = runner, envelope.id
        self._by_id.setdefault(envelope.id, set()).add(delivery)
        try:
            outputs, failures = await self._handling.attempt(
                opened.handlers, delivery, envelope, opened.payload, cell
            )
        except asyncio.CancelledError:
            self._interrupted(runner, delivery, opened)
            return
        finally:
            self._forget(delivery, envelope.id)
        if delivery.interrupted is not None:
            runner.uncancel()  # it ended all the same, well or not
        if delivery.done:
            outputs = {**delivery.done, **outputs}
        if failures:
            self._failed(delivery, opened, outputs, failures)
            return
        records = [output for handler in opened.names for output in outputs.get(handler, ())]
        if envelope.requires_ack and envelope.sender:
            records += self._outbox.acknowledgement(delivery.record, envelope)
        self._finish(delivery, HANDLED, envelope.id, records, opened.delivery_ms)

    def _forget(self, delivery: Delivery, envelope_id: str) -> None:
        del self._running[delivery]
        same = self._by_id[envelope_id]
        same.discard(delivery)
        if not same:
            del self._by_id[envelope_id]

    def _interrupted(self, runner: asyncio.Task[None], delivery: Delivery, opened: Opened) -> None:
        """The runner was cancelled while it handled this record: by us, or with everything."""
        why = delivery.interrupted
        if why is None:
            self._core.finished(delivery, None)
            raise asyncio.CancelledError
        runner.uncancel()
        envelope_id = opened.envelope.id
        if delivery.assignment.live and self.cancelled.reason(envelope_id) is not None:
            ending = Ending(Outcome.SKIPPED, Reason.CANCELLED, why)
            self._finish(delivery, ending, envelope_id, delivery_ms=opened.delivery_ms)
        else:
            self._core.finished(delivery, None)

    def _failed(
        self,
        delivery: Delivery,
        opened: Opened,
        outputs: dict[str, Sequence[Output]],
        failures: Sequence[Failure],
    ) -> None:
        """Another attempt for those that failed, after a while; or a dead letter."""
        policy, lot = self._app.retry, self._rng.random()
        waits = [policy.wait_after(delivery.attempt, one.error, lot) for one in failures]
        retry_ms = None if None in waits else max(wait for wait in waits if wait is not None)
        worst = failures[0] if retry_ms is not None else failures[waits.index(None)]
        delivery.failure = worst
        _log.warning(
            "handler_failed",
            handler=worst.handler,
            attempt=delivery.attempt,
            retry_ms=retry_ms,
            record=str(delivery.record),
            id=opened.envelope.id,
            error=f"{worst.name}: {worst.error}",
            stack=worst.stack,
        )
        if retry_ms is None or not self._may_go_on(delivery):
            ending = Ending(Outcome.DEAD_LETTERED, worst.name, str(worst.error))
            if retry_ms is not None:
                self._core.finished(delivery, None)  # its next owner begins anew
                return
            buried = [output for name in opened.names for output in outputs.get(name, ())]
            names = [one.handler for one in failures]
            buried += self._buried(delivery, ending, worst, opened.envelope, names)
            self._finish(delivery, ending, opened.envelope.id, buried, opened.delivery_ms)
            return
        delivery.done = outputs or None
        self._core.parked(delivery)
        self._wait(retry_ms / 1000, delivery)

    def _may_go_on(self, delivery: Delivery) -> bool:
        assignment = delivery.assignment
        return assignment.live and not assignment.stopping

    def _wait(self, wait_s: float, delivery: Delivery) -> None:
        def due() -> None:
            self._waits.discard(handle)
            if self._core.due(delivery):
                self._dispatch_soon()

        handle = self._loop.call_later(wait_s, due)
        self._waits.add(handle)

    def _buried(
        self,
        delivery: Delivery,
        ending: Ending,
        failure: Failure | None,
        envelope: Envelope | None = None,
        handlers: Sequence[str] = (),
    ) -> list[Output]:
        """What goes on the log with an ending that is a dead letter; nothing for any other."""
        if ending.outcome is not Outcome.DEAD_LETTERED:
            return []
        outbox, record = self._outbox, delivery.record
        outputs = outbox.dead_letter(
            record,
            group=self._group,
            handlers=handlers,
            attempts=delivery.attempt,
            error_name=str(ending.reason),
            error_message=ending.detail,
            stack=failure.stack if failure is not None else "",
            failed_at_ms=outbox.clock.now_us() // 1000,
            context={"app": self._app.name, "run_id": self._run_id},
        )
        if envelope is not None and envelope.kind is Kind.REQUEST and envelope.reply_to:
            # Whoever asked hears of it now, not when they have waited long enough.
            answer = failed(envelope, str(ending.reason), ending.detail)
            outputs += outbox.answer(record, envelope, answer)
        return outputs

    def _finish(
        self,
        delivery: Delivery,
        ending: Ending,
        envelope_id: str = "",
        outputs: Sequence[Output] = (),
        delivery_ms: int | None = None,
    ) -> None:
        record = delivery.record
        settled = Settled(
            record.position,
            record.appended_at_ms,
            record_size(record),
            ending,
            envelope_id,
            tuple(outputs),
            delivery_ms,
        )
        self._core.finished(delivery, settled)
        self._committer.settled(self._loop.time())

    def _interrupt(self, delivery: Delivery, why: str) -> None:
        """Once only: a second cancel would hit whatever the runner does next."""
        found = self._running.get(delivery)
        if found is not None and delivery.interrupted is None:
            delivery.interrupted = why
            found[0].cancel()

    # --- draining ----------------------------------------------------------------------------

    async def _settle(self, sources: Iterable[Partition]) -> None:
        """Wait for what runs on stopped partitions, at most `drain_s_max`, and commit it."""
        wanted = tuple(sources)
        await self._drained(wanted, self._app.drain_s_max)
        for delivery in tuple(self._running):
            if delivery.assignment.source in wanted:
                self._interrupt(delivery, "its partition is given up")
        await self._drained(wanted, LATE_S_MAX)
        self._core.leave(wanted)
        await self._committer.commit_all(wanted)

    async def _drained(self, sources: Sequence[Partition], s_max: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(s_max):
                while self._core.running(sources):
                    self._progress.clear()
                    await self._progress.wait()


def _unread(record: Record, error: Exception) -> AgentlogError:
    """Why a record could be neither read nor called unreadable: its schema cannot be asked for."""
    if isinstance(error, AgentlogError):
        return error
    return AgentlogError(f"cannot read {record}: {type(error).__name__}: {error}")
