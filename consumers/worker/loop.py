"""The event loop's side of a worker: dispatch, outcomes, rebalancing, draining.

Everything here runs on one event loop; the two threads (source, transactions) only ever post to
it. What is decided is decided by `core`; this tells it what happened, and `runners` run the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Final

import structlog

from consumers.app import App
from consumers.journal import Delivery as DeliveryMode
from consumers.outbox import Outbox
from consumers.worker.assignment import Delivery
from consumers.worker.committer import Committer
from consumers.worker.core import Core
from consumers.worker.ports import Assigned, Source, Transactions
from consumers.worker.runners import Runners
from consumers.worker.status import PartitionStatus, WorkerStatus, status_answer
from streams.envelope import Envelope
from streams.errors import AgentlogError, BrokerError
from streams.record import Partition, Record

LATE_S_MAX: Final = 2.0
"""Seconds that interrupted handlers get to end before their partitions go on without them."""

_log: Final = structlog.get_logger("agentlog.worker")


class SuspectLeftBehind(AgentlogError):
    """A record that runs alone (H11) goes on though its partition is gone and it was interrupted:
    nothing else may run in this process, so another must take its place.
    """


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
        on_commit: Callable[[], None] | None = None,
    ) -> None:
        self._app = app
        self._core = core
        self._source = source
        self._transactions = transactions
        self._outbox = outbox
        self._group = group
        self._run_id = run_id
        self._on_commit = on_commit
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
        self._runners = Runners(
            app,
            core,
            self._committer,
            outbox,
            group=group,
            run_id=run_id,
            rng=rng or random.Random(),
            fail=self._fail,
        )
        self._held: frozenset[Partition] = frozenset()
        self._stopping = False
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()
        self._looked_after: Delivery | None = None
        """A suspect that was left behind, and is given `LATE_S_MAX` to end."""
        self._asides: set[asyncio.Task[None]] = set()
        """Revocations and reports under way."""
        self._started_at = outbox.clock.now_us()

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
        self._stopping = True
        sources = [assignment.source for assignment in self._core.assignments]
        self._core.stop()
        try:
            await self._settle(sources)
        except AgentlogError as error:
            self._fail(error)
        finally:
            await self._source.stop()
            await self._transactions.close()
            self._runners.close()

    @property
    def stubborn(self) -> int:
        """Handlers that go on though they were interrupted."""
        return self._runners.running

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs: whether a cancel may matter now."""
        return self._core.waiting > 0 or self._runners.running > 0

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
        self._interrupt_gone()  # by their earlier assignments, if the source reloaded them itself
        if self._stopping or self._ended.is_set():
            self._core.stop()
        else:
            self._committer.mark()
        _log.info("assigned", partitions=[str(one.source) for one in assigned])

    def on_records(self, batches: Sequence[tuple[int, Sequence[Record]]]) -> None:
        """Queue them in their lanes and start what may run."""
        for token, records in batches:
            self._core.delivered(token, records)
        self._hold_back()
        self._runners.dispatch_soon()

    def on_read_to(self, positions: Sequence[tuple[int, int]]) -> None:
        """Positions may move over what nobody sees."""
        for token, position in positions:
            self._core.read_to(token, position)
        self._runners.dispatch_soon()

    def on_assigning(self, done: Callable[[], None]) -> None:
        """Let the commit under way end first: it may have positions of these partitions."""
        self._aside(self._committer.at_rest(), done)

    def on_revoking(self, sources: Sequence[Partition], done: Callable[[], None]) -> None:
        """Stop, drain within the app's bound, commit, then let go."""
        self._core.stop(sources)
        self._aside(self._settle(sources), done)

    def _aside(self, work: Coroutine[Any, Any, None], done: Callable[[], None]) -> None:
        """While the source waits for it. What it raises ends the worker."""

        async def run() -> None:
            try:
                await work
            except Exception as error:  # noqa: BLE001 - nobody else hears of it
                self.on_source_failed(error)
            finally:
                done()

        task = asyncio.create_task(run())
        self._asides.add(task)
        task.add_done_callback(self._asides.discard)

    def on_lost(self, sources: Sequence[Partition]) -> None:
        """Drop everything of theirs: it is another's now."""
        self._core.give_up(sources)
        self._interrupt_gone()
        self._app.forget(sources)
        if sources:
            _log.info("given_up", partitions=[str(source) for source in sources])
        self._runners.dispatch_soon()

    def on_source_failed(self, error: BaseException) -> None:
        """Without a source there is nothing left to do. After a fault of our own nothing more is
        committed either: what it left out would pass as finished.
        """
        if not isinstance(error, AgentlogError):
            self._core.give_up([one.source for one in self._core.assignments])
            error = BrokerError(f"the source failed: {type(error).__name__}: {error}")
        self._fail(error)

    def _reload(self, sources: Sequence[Partition]) -> None:
        """Nobody knows whether these committed: only their committed positions do (H7)."""
        self._source.reload(sources)
        self._interrupt_gone()

    def _interrupt_gone(self) -> None:
        self._runners.interrupt(
            lambda delivery: not delivery.assignment.live, "its partition is another's now"
        )
        suspect = self._core.left_behind
        if suspect is not None and suspect is not self._looked_after:
            self._looked_after = suspect
            self._loop.call_later(LATE_S_MAX, self._look_after, suspect)

    def _look_after(self, suspect: Delivery) -> None:
        """A suspect that no interruption reaches would block this process for ever."""
        if self._core.left_behind is not suspect or self._stopping:
            return
        _log.error("suspect_left_behind", record=str(suspect.record), waited_s=LATE_S_MAX)
        self._fail(
            SuspectLeftBehind(
                f"{suspect.record} runs alone because owners of its partition kept dying; that is "
                f"another's now, and its handler did not end within {LATE_S_MAX:g} s of being "
                "interrupted: only another process can go on. A handler must let CancelledError "
                "through; a plain def must look at ctx.cancelled"
            )
        )

    def _on_committed(self) -> None:
        if self._on_commit is not None:
            self._on_commit()
        self._hold_back()
        self._runners.dispatch_soon()

    def _hold_back(self) -> None:
        held = frozenset(self._core.held())
        if held != self._held:
            self._held = held
            self._source.hold(held)
            if held:
                _log.info("held_back", partitions=[str(source) for source in held])

    # --- what control tells ------------------------------------------------------------------

    def on_cancel(self, message_id: str, reason: str) -> None:
        """Do not run this envelope, or interrupt it at its next await."""
        self._runners.cancel(message_id, reason)

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
        try:
            await self._outbox.at_once.send(status_answer(request, self.status()))
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
            running=self._runners.running,
            retrying=self._runners.retrying,
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

    # --- draining ----------------------------------------------------------------------------

    async def _settle(self, sources: Iterable[Partition]) -> None:
        """Wait for what runs on stopped partitions, at most `drain_s_max`, and commit it."""
        wanted = tuple(sources)
        await self._drained(wanted, self._app.drain_s_max)
        self._runners.interrupt(
            lambda delivery: delivery.assignment.source in wanted, "its partition is given up"
        )
        await self._drained(wanted, LATE_S_MAX)
        await self._committer.leave(wanted)

    async def _drained(self, sources: Sequence[Partition], s_max: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(s_max):
                while self._core.running(sources):
                    self._runners.progress.clear()
                    await self._runners.progress.wait()
