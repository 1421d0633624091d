"""One record's handlers, run once more: as a worker runs them, with nothing that leaves the log.

Each handler runs alone, attempt after attempt without a wait, until one ends well or the app's
retry policy gives up: what was published on the way to it was never on the log either. So a
handler that failed twice and then published is compared by what it published.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any, Final

from consumers.app import App, Handler
from consumers.context import Effected
from consumers.current_run import RunCell, current_run
from consumers.journal import Output
from consumers.marks import Mark
from consumers.outbox import RECORD_BYTES_MAX, Outbox
from consumers.rehearsal.denial import Refused
from consumers.rehearsal.findings import FINDINGS_MAX, Finding, FindingKind
from consumers.rehearsal.on_log import GroupOnLog
from consumers.rehearsal.outputs import Comparison
from consumers.worker.assignment import Assignment, Delivery
from consumers.worker.cancelled import CancelledIds
from consumers.worker.handling import Handling
from consumers.worker.opening import Closed, Opened, Opening
from streams.answers import Answer
from streams.envelope import Envelope
from streams.errors import AgentlogError, NonRetriable
from streams.record import Record
from streams.schemas import Codec
from streams.topics import Namespace

HANDLER_S_MAX: Final = 60.0
"""Seconds that one attempt may take, if the handler has no `timeout_s` of its own."""
STOP_S_MAX: Final = 5.0
"""Seconds after which a handler that was told to stop counts as stuck."""


class NeverRecorded(NonRetriable):
    """A handler asks for an effect whose result is not on the log."""


class HandlerStuck(AgentlogError):
    """A handler goes on though it was told to stop: only the end of its process ends it."""


class _Time:
    """A clock that stands where the record is: what handlers stamp means nothing here."""

    def __init__(self) -> None:
        self.us = 0

    def now_us(self) -> int:
        """UTC microseconds since the epoch."""
        return self.us


class _RecordedEffects(dict[str, Effected]):
    """What `ctx.effect` finds: results from the log. It never runs anything."""

    def __init__(self, performing: Performing, record: Record) -> None:
        super().__init__()
        self._performing = performing
        self._record = record

    def get(self, key: str, default: Any = None) -> Any:
        del default
        found = self._performing.on_log.effect(key, self._record)
        if found is None:
            raise self._performing.never_recorded(key)
        self._performing.effects_served += 1
        return Effected(found, ())


class Performing:
    """Runs the records of one app's group again, and keeps what it finds. One event loop."""

    def __init__(
        self, app: App, name: str, on_log: GroupOnLog, codec: Codec, namespace: Namespace
    ) -> None:
        self.on_log = on_log
        self.records = 0
        self.runs = 0
        self.outputs = 0
        self.effects_served = 0
        self.sent_at_once = 0
        self.not_compared = 0
        self.counts: Counter[str] = Counter()
        self.findings: list[Finding] = []
        self._app = app
        self._time = _Time()
        self._outbox = Outbox(
            codec,
            namespace,
            self._time,
            app_name=name,
            writer="rehearsal",
            record_bytes_max=RECORD_BYTES_MAX,
            at_once=self,
        )
        self._opening = Opening(app, self._outbox, CancelledIds(), group=namespace.group(name))
        self._executor = ThreadPoolExecutor(app.threads_max, thread_name_prefix="agentlog-handler")
        self._handling = Handling(self._outbox, self._executor)
        self._now: tuple[Handler, Record] | None = None
        self._noted: Finding | None = None

    def close(self) -> None:
        """No further record follows."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def run(self, records: Sequence[tuple[Record, int]]) -> None:
        """These records, with their event times in microseconds, in order. Raises
        `AgentlogError` for a handler that cannot be stopped.
        """
        for record, created_at in records:
            assignment = Assignment(
                0, record.source, Mark(0), None, careful_max=0, wary_max=0, dedup_window=0
            )
            delivery = Delivery(record, assignment, 0, 0, duplicate=False, odd=True)
            self.records += 1
            self._time.us = created_at  # it was handled: then it had not expired
            opened = self._opening.open(delivery)
            self._time.us = record.appended_at_ms * 1000
            if isinstance(opened, Opened):
                await self._handlers(delivery, opened)
            else:
                self._find(_closed(record, opened))

    async def _handlers(self, delivery: Delivery, opened: Opened) -> None:
        comparison = Comparison(
            self.on_log, self._outbox, delivery.record, opened.envelope, self._find
        )
        for handler in opened.handlers:
            outputs = await self._attempts(handler, delivery, opened)
            if outputs is None:
                comparison.failed(handler.name)
            else:
                comparison.handler(handler.name, outputs)
        comparison.finish()
        self.outputs += comparison.equal
        self.not_compared += comparison.not_compared

    async def _attempts(
        self, handler: Handler, delivery: Delivery, opened: Opened
    ) -> Sequence[Output] | None:
        """What a handler publishes; None if it does not end well, which was told then."""
        record = delivery.record
        self._now, self._noted = (handler, record), None
        self.runs += 1
        delivery.failure = None
        delivery.effects = _RecordedEffects(self, record)
        for delivery.attempt in count(1):
            task = asyncio.create_task(self._attempt(handler, delivery, opened))
            await self._until_done(task, handler, record)
            outputs, failure = task.result()
            if self._noted is not None:  # whether the handler let it pass or not
                self._find(self._noted)
                return None
            if failure is None:
                return outputs
            delivery.failure = failure
            if self._app.retry.wait_after(delivery.attempt, failure.error, 0.0) is None:
                self._find(
                    self._about(
                        FindingKind.FAILED,
                        f"was handled, and fails now: {failure.name}: {failure.message}",
                    )
                )
                return None
        raise AssertionError("an attempt is the last one")

    async def _attempt(
        self, handler: Handler, delivery: Delivery, opened: Opened
    ) -> tuple[Sequence[Output], Any]:
        cell = RunCell()
        current_run.set(cell)
        outputs, failures = await self._handling.attempt(
            [handler], delivery, opened.envelope, opened.payload, cell
        )
        return outputs.get(handler.name, ()), failures[0] if failures else None

    async def _until_done(self, task: asyncio.Task[Any], handler: Handler, record: Record) -> None:
        limit_s = HANDLER_S_MAX if handler.timeout_s is None else None
        done, _ = await asyncio.wait({task}, timeout=limit_s)
        if not done:
            task.cancel()
            stopped, _ = await asyncio.wait({task}, timeout=STOP_S_MAX)
            raise (AgentlogError if stopped else HandlerStuck)(
                f"{handler.name} on {record} takes longer than {HANDLER_S_MAX:g} s: give it a "
                "timeout_s, or let what it waits for be an effect (ctx.effect), which is served"
            )

    # --- what handlers may not do ------------------------------------------------------------

    async def send(self, envelope: Envelope) -> None:
        """`ctx.send_now`: caught. It may be on the log more often than once, or of any attempt."""
        del envelope
        self.sent_at_once += 1

    async def request(
        self, to: str, payload: Envelope | Mapping[str, Any], timeout_s: float
    ) -> Answer:
        """`ctx.request`: refused, for nobody would answer."""
        del payload, timeout_s
        raise self.refuse(f"asks {to} (ctx.request)")

    def refuse(self, does: str) -> Exception:
        """The error for what a handler tries; it is found whatever the handler makes of it."""
        return Refused(
            self._note(
                FindingKind.REFUSED,
                f"{does}: a rehearsal lets no handler reach beyond the log; what it does with "
                "ctx.effect(name, fn) is recorded, and served instead of run",
            )
        )

    def never_recorded(self, key: str) -> Exception:
        """The error for an effect that the log does not have."""
        return NeverRecorded(
            self._note(
                FindingKind.NEVER_RECORDED,
                f"asks for an effect that was never recorded for it, under the key {key}",
            )
        )

    def _note(self, kind: FindingKind, detail: str) -> str:
        """In words, who does what; the first that the running handler does is kept."""
        finding = self._about(kind, detail)
        running = self._running()
        if (finding.handler, finding.record) != running:
            self._find(finding)  # something that an earlier one has left behind
        elif self._noted is None:
            self._noted = finding
        return f"{finding.handler} on {finding.record} {detail}"

    def _about(self, kind: FindingKind, detail: str) -> Finding:
        """Of whoever calls: its task or thread says so, else it is whoever runs."""
        cell, (handler, record) = current_run.get(), self._running()
        if cell is not None and cell.ctx is not None:
            handler, record = cell.ctx.handler, str(cell.ctx.record)
        return Finding(kind=kind, record=record, handler=handler, detail=detail)

    def _running(self) -> tuple[str, str]:
        return ("", "") if self._now is None else (self._now[0].name, str(self._now[1]))

    def _find(self, finding: Finding) -> None:
        self.counts[finding.kind] += 1
        if len(self.findings) < FINDINGS_MAX:
            self.findings.append(finding)


def _closed(record: Record, closed: Closed) -> Finding:
    ending = closed.ending
    why = f" ({ending.detail})" if ending.detail else ""
    return Finding(
        kind=FindingKind.NOT_HANDLED,
        record=str(record),
        handler="",
        detail=f"was handled, and would be {ending.outcome.value.replace('_', '-')} now: "
        f"{ending.reason}{why}",
    )
