"""The event loop's side of a worker: dispatch, rebalancing, draining.

Everything here runs on one event loop; the two threads (source, transactions) only ever post to
it. What is decided is decided by `core`; this performs it.

A handler that raises stops the worker: what finished before is committed, the record and all
after it on its partition stay uncommitted, and `run` raises `HandlerFailed`. Nothing is lost and
nothing is skipped, but until retries and dead letters exist, a record that always fails stops
every worker that gets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from consumers.app import App, Handler
from consumers.context import Outbox
from consumers.journal import Ending, Output, Settled
from consumers.journal.outcomes import HANDLED, IMPORT, NO_HANDLER
from consumers.worker.committer import Committer
from consumers.worker.core import Core, Delivery, record_size
from consumers.worker.handling import HandlerFailed, run_handlers, undecodable
from consumers.worker.lanes import Ticket
from consumers.worker.ports import Assigned, Source, Transactions
from streams.envelope import Envelope
from streams.errors import AgentlogError, BrokerError, DecodeError
from streams.record import Partition, Record
from streams.schemas import StoredPayload

DISPATCH_MAX: Final = 128
"""Records started in one go before the loop gets to do anything else."""

_IMPORTED: Final = "import:"
_log: Final = structlog.get_logger("agentlog.worker")


class WorkerLoop:
    """Runs one app over one source until stopped. A `SourceListener`."""

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
    ) -> None:
        self._app = app
        self._core = core
        self._source = source
        self._transactions = transactions
        self._outbox = outbox
        self._committer = Committer(
            core,
            transactions,
            outbox,
            group=group,
            run_id=run_id,
            linger_ms=app.commit_linger_ms,
            on_unknown=self._reload,
        )
        self._tasks: dict[asyncio.Task[None], Ticket[Delivery]] = {}
        self._dispatching = False
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()
        self._progress = asyncio.Event()
        self._warned: set[str] = set()
        self._revoking: set[asyncio.Task[None]] = set()

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
            await self._drain()
        if self._failure is not None:
            raise self._failure

    async def _drain(self) -> None:
        """Start nothing more, let what runs end, commit, leave the group."""
        sources = [assignment.source for assignment in self._core.assignments]
        self._core.stop()
        try:
            await self._settle(sources)
        except AgentlogError as error:
            self._fail(error)
        finally:
            await self._source.stop()
            await self._transactions.close()

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            _log.error("worker_fails", error=str(error))
        self._core.stop()
        self._ended.set()

    # --- what the source tells ---------------------------------------------------------------

    def on_assigned(self, assigned: Sequence[Assigned]) -> None:
        """Begin to take records of these partitions."""
        for one in assigned:
            self._core.assigned(one.token, one.source, one.position, one.metadata)
        if self._ended.is_set():
            self._core.stop()
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
        self._revoking.add(task)
        task.add_done_callback(self._revoking.discard)

    def on_lost(self, sources: Sequence[Partition]) -> None:
        """Drop everything of theirs: it is another's now."""
        self._core.give_up(sources)
        self._interrupt(lambda delivery: not delivery.assignment.live)
        if sources:
            _log.info("given_up", partitions=[str(source) for source in sources])

    def on_source_failed(self, error: BaseException) -> None:
        """Without a source there is nothing left to do."""
        self._fail(error if isinstance(error, AgentlogError) else BrokerError(str(error)))

    def _reload(self, sources: Sequence[Partition]) -> None:
        """Nobody knows whether these committed: only their committed positions do (H7)."""
        self._source.reload(sources)
        self._interrupt(lambda delivery: not delivery.assignment.live)

    # --- dispatch ----------------------------------------------------------------------------

    def _dispatch(self) -> None:
        self._dispatching = False
        take = self._core.take
        for _ in range(DISPATCH_MAX):
            ticket = take()
            if ticket is None:
                return
            self._start(ticket)
        self._dispatch_soon()

    def _dispatch_soon(self) -> None:
        if not self._dispatching:
            self._dispatching = True
            self._loop.call_soon(self._dispatch)

    def _start(self, ticket: Ticket[Delivery]) -> None:
        record = ticket.item.record
        outbox = self._outbox
        try:
            envelope = outbox.codec.decode(record.value, record.headers)
            if self._app.skip_imports and (envelope.origin or "").startswith(_IMPORTED):
                self._finish(ticket, IMPORT, envelope.id)
                return
            stored = envelope.payload
            payload = stored.fields if type(stored) is StoredPayload else stored
        except DecodeError as error:
            self._finish(ticket, undecodable(record, error))
            return
        except Exception as error:  # noqa: BLE001 - nobody else hears of it in a callback
            self._fail(_unread(record, error))
            self._core.finished(ticket, None)
            return
        delivery_ms = outbox.clock.now_us() // 1000 - record.appended_at_ms
        handlers = self._app.handlers_for(envelope.type)
        if not handlers:
            self._warn_no_handler(envelope.type)
            self._finish(ticket, NO_HANDLER, envelope.id, delivery_ms=delivery_ms)
            return
        run = self._handle(ticket, handlers, envelope, payload, delivery_ms)
        self._tasks[self._loop.create_task(run)] = ticket

    async def _handle(
        self,
        ticket: Ticket[Delivery],
        handlers: Sequence[Handler],
        envelope: Envelope,
        payload: Mapping[str, Any],
        delivery_ms: int,
    ) -> None:
        record = ticket.item.record
        try:
            outputs = await run_handlers(handlers, self._outbox, record, envelope, payload)
        except HandlerFailed as failure:
            self._fail(failure)
            self._core.finished(ticket, None)
        except asyncio.CancelledError as error:
            if ticket.item.assignment.live and not ticket.item.assignment.stopping:
                # Not by us: something that it awaited was cancelled, and it let that through.
                self._fail(HandlerFailed(handlers[0].name, record, error))
            self._core.finished(ticket, None)
        else:
            self._finish(ticket, HANDLED, envelope.id, outputs, delivery_ms)
        finally:
            task = asyncio.current_task()
            if task is not None:
                del self._tasks[task]
            self._progress.set()
            self._dispatch_soon()

    def _finish(
        self,
        ticket: Ticket[Delivery],
        ending: Ending,
        envelope_id: str = "",
        outputs: Sequence[Output] = (),
        delivery_ms: int | None = None,
    ) -> None:
        record = ticket.item.record
        settled = Settled(
            record.position,
            record.appended_at_ms,
            record_size(record),
            ending,
            envelope_id,
            tuple(outputs),
            delivery_ms,
        )
        self._core.finished(ticket, settled)
        self._committer.settled(self._loop.time())

    def _interrupt(self, chosen: Callable[[Delivery], bool]) -> None:
        for task, ticket in tuple(self._tasks.items()):
            if not chosen(ticket.item):
                continue
            task.cancel()
            handling: Any = task.get_coro()
            if inspect.getcoroutinestate(handling) == inspect.CORO_CREATED:
                # Cancelled before its first step, `_handle` is never entered.
                del self._tasks[task]
                self._core.finished(ticket, None)
                self._progress.set()
                self._dispatch_soon()

    def _warn_no_handler(self, type_name: str) -> None:
        if type_name not in self._warned:  # once per type; the journal has every record
            self._warned.add(type_name)
            _log.warning("no_handler", type=type_name, app=self._app.name)

    # --- draining ----------------------------------------------------------------------------

    async def _settle(self, sources: Iterable[Partition]) -> None:
        """Wait for what runs on stopped partitions, at most `drain_s_max`, and commit it."""
        wanted = tuple(sources)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._app.drain_s_max):
                while self._core.running(wanted):
                    self._progress.clear()
                    await self._progress.wait()
        self._interrupt(lambda delivery: delivery.assignment.source in wanted)
        await self._committer.commit_all(wanted)


def _unread(record: Record, error: Exception) -> AgentlogError:
    """Why a record could be neither read nor called unreadable: its schema cannot be asked for."""
    if isinstance(error, AgentlogError):
        return error
    return AgentlogError(f"cannot read {record}: {type(error).__name__}: {error}")
