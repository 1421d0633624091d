"""The world: performs one schedule, until everything is quiet and all workers have stopped.

Whoever runs a worker starts it again when it has ended, whatever ended it. When the schedule is
over, faults stop; then what is on the log must get its outcomes within `QUIET_S_MAX`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from consumers.app import App
from consumers.audit import GroupBooks, read_books
from consumers.context import Context
from consumers.journal.tiling import Tiling
from consumers.marks import Mark
from consumers.testing.virtual_time import LoopClock
from consumers.worker.loop import SuspectLeftBehind
from consumers.worker.memory import Call, MemoryTransactions, MemoryWorker
from streams.control import cancel, drain
from streams.envelope import Envelope
from streams.envelope import Kind as EnvelopeKind
from streams.headers import CE_ID, REPLAY_OF
from streams.memory import CallFailed, Fault, MemoryLogReader, Producer
from streams.outgoing import Outbox
from streams.record import Partition
from streams.schemas import Codec
from streams.topics import CONTROL, TASKS, TOPICS, Namespace
from streams.topics.catalogue import dlq
from streams.topics.partitioning import partition_for
from tests.simulation.apps import ASSIGN, OUTPUT_TOPICS, envelope_of, make_apps
from tests.simulation.schedule import AT_CALLS, Action, Event, Foreign, Kind, Load, Schedule
from tests.simulation.traced import Trace, TracedLog

QUIET_S_MAX: Final = 1_800.0
"""Virtual seconds: crashing records alone may take some minutes of timeouts."""
LOOK_S: Final = 0.5
LOOKS_LEAST: Final = 6
"""At least once it must stay quiet for so long: a zombie waits 2 s, then repeats its outputs."""
SETTLE_S: Final = 15.0
"""Virtual seconds after the last worker: what died with a transaction open has timed out then."""
RESTART_MS: Final = (0, 10, 200, 3_000)
CALLS_MAX: Final = 200_000
"""Calls on the log in one run; more is a loop that does not end."""
DELIVERED: Final = 0.15
"""Share of calls before which a delayed commit arrives, if there is one."""
UNKNOWN_SCHEMA_ID: Final = 0x7FFFFFF0


class Busy(Exception):
    """The workers call and call, and nothing comes of it."""


class Unforeseen(Exception):
    """A commit raises what nobody there expects."""


class HandlerRun(msgspec.Struct):
    """One attempt of a handler, as it was seen."""

    source: Partition
    position: int
    key: bytes | None
    subject: str
    handler: str
    run_id: str
    token: int
    """Of the assignment: with the run id, one ownership."""
    attempt: int
    began: int
    """Place in the order of all beginnings and ends."""
    ended: int | None = None
    how: str = ""


class Death(msgspec.Struct, frozen=True):
    """A worker that ended without giving up its partitions, or one that was taken for dead."""

    run_id: str
    by: str
    """Subject of the record that did it; empty: the schedule."""
    of: tuple[Partition, int] | None
    """Where that record is."""
    suspects: tuple[tuple[Partition, int], ...]
    """The records that it had started alone and not ended, as the log says."""


class Observed(msgspec.Struct):
    """What is seen of a run besides its log."""

    runs: list[HandlerRun] = []
    deaths: list[Death] = []
    problems: list[tuple[str, str]] = []
    """(checker, finding): what the world itself noticed."""
    accepted: list[tuple[Partition, int]] = []
    """Of the load and of foreign transactions that committed."""
    kinds: dict[tuple[Partition, int], Kind] = {}
    cancelled: set[str] = set()
    """Envelope ids."""
    tokens: set[tuple[str, int]] = set()


class _Member:
    """A worker and its place."""

    def __init__(self, slot: int, worker: MemoryWorker, seed: str) -> None:
        self.slot = slot
        self.worker = worker
        self.rng = random.Random(seed)
        self.stop = asyncio.Event()
        self.deaf_until_s = 0.0
        self.awaited: dict[Action, Event] = {}
        """What befalls it in the middle of a call, by what it is."""
        self.raised = False
        self.task: asyncio.Task[None] | None = None
        self.dead = False

    def due(self, call: Call) -> Event | None:
        """What was to befall it in this call."""
        for action in AT_CALLS:
            event = self.awaited.get(action)
            if event is not None and event.call == call.value:
                return self.awaited.pop(action)
        return None


class World:
    """See the module. `log` is there to be read when `run` has returned."""

    def __init__(self, schedule: Schedule, codec: Codec, trace: Trace) -> None:
        self.schedule = schedule
        self.codec = codec
        self.namespace = Namespace("sim")
        self.observed = Observed()
        self._trace = trace
        self.log = TracedLog(trace, clock=LoopClock(), seed=schedule.seed)
        shared = {TASKS, *OUTPUT_TOPICS, *map(dlq, (TASKS, *OUTPUT_TOPICS))}
        for topic in sorted({*shared, *TOPICS}):
            partitions = schedule.partitions if topic in shared else 1
            self.log.create_topic(self.namespace.topic(topic), partitions)
        self.apps: list[App] = make_apps(schedule, self._observe)
        self._outgoing = Outbox(
            codec,
            sender="load",
            clock=self.log.clock,
            rng=random.Random(schedule.seed),
            record_bytes_max=1_000_000,
            namespace=self.namespace,
        )
        self._rng = random.Random(f"{schedule.seed}/world")
        self._members: dict[int, _Member] = {}
        self._by_run: dict[str, _Member] = {}
        self._ids: dict[str, str] = {}
        self._crashes: Counter[tuple[str, str]] = Counter()
        self._started = self._calls = self._order = self._deaths = self._slow = 0
        self._repeats = schedule.bounds.delivery == "at_least_once"
        self._quiet = self._over = False

    # --- the whole run -----------------------------------------------------------------------

    async def run(self) -> None:
        """Perform the schedule; what did not go as it must is in `observed`."""
        ticking = asyncio.create_task(self._tick(), name="tick")
        slots = [
            asyncio.create_task(self._keep_going(app, n * len(self.apps) + i), name="supervisor")
            for n in range(self.schedule.workers)
            for i, app in enumerate(self.apps)
        ]
        await asyncio.gather(
            *(self._at(one.at_ms, self._publish, one) for one in self.schedule.loads),
            *(self._at(one.at_ms, self._foreign, one) for one in self.schedule.foreign),
            *(self._at(one.at_ms, self._happen, one) for one in self.schedule.events),
        )
        self._calm()
        await self._until_quiet()
        self._over = True
        for member in tuple(self._members.values()):
            member.stop.set()
        await asyncio.gather(*slots)
        await asyncio.sleep(SETTLE_S)
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        self._nothing_left()

    def _calm(self) -> None:
        """Nothing goes wrong any more, but for records that crash."""
        self._quiet = True
        self._trace("calm")
        self.log._faults._waiting.clear()
        self.log.deliver_delayed()

    async def _until_quiet(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + QUIET_S_MAX
        looks = LOOKS_LEAST if self._repeats else 1
        while looks:
            unfinished = self._unfinished()
            looks = (LOOKS_LEAST if self._repeats else 1) if unfinished else looks - 1
            if unfinished and (loop.time() > deadline or self._calls > CALLS_MAX):
                self._problem("no_progress", f"not quiet: {'; '.join(unfinished[:3])}")
                return
            if looks:
                await asyncio.sleep(LOOK_S)
        self._trace("quiet")

    def _unfinished(self) -> list[str]:
        found = []
        for app in self.apps:
            # At least once, positions may step back for a while: the journal says what has ended.
            for source, mark in (
                self._journal_marks(app) if self._repeats else self.marks(app)
            ).items():
                position = mark.position if mark else 0
                if position < (end := self.log.end(source, committed=False)):
                    found.append(f"{app.name} has committed {source} up to {position} of {end}")
        for member in self._members.values():
            worker = member.worker
            if worker.source.member_id not in self.log.group(worker.group).members:
                found.append(f"{worker.run_id} is not in its group")
        if self._slow:
            found.append(f"{self._slow} slow calls are under way")
        return found

    def _journal_marks(self, app: App) -> dict[Partition, Mark | None]:
        """How far the journal of a group has got."""
        books = read_books(MemoryLogReader(self.log), self.codec, self.namespace)
        found = books.get(self.namespace.group(app.name), GroupBooks())
        marks: dict[Partition, Mark | None] = {}
        for source in self.marks(app):
            end = self.log.end(source)
            positions = [one.position for one in self.log.fetch(source, 0, count_max=end).records]
            result = found.tilings.get(source, Tiling()).check(positions)
            marks[source] = Mark(result.prefix_to if result.in_flight or result.lost else end)
        return marks

    def marks(self, app: App) -> dict[Partition, Mark | None]:
        """What is committed for a group, seen by nobody's call."""
        sources = [
            one for name in app.topics for one in self.log.partitions(self.namespace.topic(name))
        ]
        known = self.log._of(self.namespace.group(app.name)).committed(sources, stable=False)
        return {
            source: Mark.decode(one.position, one.metadata) if one else None
            for source, one in known.items()
        }

    def _nothing_left(self) -> None:
        """No task goes on when all workers have ended."""
        left = {one.get_name() for one in asyncio.all_tasks() if one is not asyncio.current_task()}
        if left:
            self._problem("all_released", f"tasks are left: {', '.join(sorted(left))}")

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.log.tick()

    async def _at(
        self, at_ms: int, do: Callable[[Any], Coroutine[Any, Any, None]], what: Any
    ) -> None:
        await asyncio.sleep(at_ms / 1000)
        await do(what)

    def _problem(self, checker: str, finding: str) -> None:
        self._trace("PROBLEM", checker, finding)
        self.observed.problems.append((checker, finding))

    # --- workers -----------------------------------------------------------------------------

    async def _keep_going(self, app: App, slot: int) -> None:
        """Whoever runs a worker starts it again."""
        rng = random.Random(f"{self.schedule.seed}/{slot}")
        await asyncio.sleep(rng.choice((0, 0, 0, 1.5)))
        while not self._over:
            member = self._start(app, slot)
            task = member.task
            assert task is not None
            try:
                await task
            except asyncio.CancelledError:
                self._members.pop(slot, None)  # it was killed
            except SuspectLeftBehind:
                self._trace("left_behind", member.worker.run_id)  # its process ends, another comes
            except Exception as error:  # noqa: BLE001 - whatever it is, the run must say it
                if member.raised and "Unforeseen" in f"{type(error).__name__} {error}":
                    self._trace("raised", member.worker.run_id)  # it ended, as it must
                else:
                    self._problem(
                        "no_progress", f"a worker failed: {type(error).__name__}: {error}"
                    )
            self._members.pop(slot, None)
            self._trace("ended", member.worker.run_id)
            if not member.dead:
                self._accounted(member)
            if not self._over:
                await asyncio.sleep(rng.choice(RESTART_MS) / 1000)

    def _start(self, app: App, slot: int) -> _Member:
        self._started += 1
        run_id = f"run-{self._started}"

        async def pace(call: Call) -> None:
            await self._pace(member, call)

        worker = MemoryWorker(
            app,
            self.log,
            self.namespace,
            self.codec,
            run_id=run_id,
            seed=self._started,
            pace=pace,
        )
        member = _Member(slot, worker, f"{self.schedule.seed}/{run_id}")
        self._members[slot] = self._by_run[run_id] = member
        self._trace("start", run_id, worker.group)
        member.task = asyncio.create_task(worker.run(member.stop), name=f"worker {run_id}")
        return member

    def _accounted(self, member: _Member) -> None:
        """What it held is released when it has ended in order."""
        window, core = member.worker.source._window, member.worker._core
        if window.count or window.size:
            self._problem(
                "all_released",
                f"{member.worker.run_id} ended with {window.count} records and {window.size} "
                "bytes in its window",
            )
        lanes = core.lanes
        running = lanes.running - member.worker._loop.stubborn  # deaf ones may go on for a while
        if core.assignments or running or lanes.waiting or lanes.parked:
            self._problem(
                "all_released",
                f"{member.worker.run_id} ended with {len(core.assignments)} assignments, "
                f"{running} running, {lanes.waiting} waiting, {lanes.parked} parked",
            )

    async def _pace(self, member: _Member, call: Call) -> None:
        """How a call of a worker on the log goes: slowly, or not at all, for it dies here."""
        self._calls += 1
        if self._calls > CALLS_MAX:
            await asyncio.sleep(10)  # let time pass, so that somebody notices
        now_s = asyncio.get_running_loop().time()
        if call is Call.HEARTBEAT and member.deaf_until_s > now_s:
            await asyncio.sleep(member.deaf_until_s - now_s)
        if self._quiet:
            return
        tempo, lot = self.schedule.tempo, member.rng.random()
        if self.log._faults.delayed and lot > 1 - DELIVERED:
            self.log.deliver_delayed()  # in the middle of what it is doing now (H1)
        if (event := member.due(call)) is not None:
            await self._meet(event, member, call)
        elif lot < tempo.dies and self._deaths < tempo.deaths_max:
            self._deaths += 1
            self._trace("die_at", member.worker.run_id, call)
            self._kill(member, "")
        elif lot < tempo.dies + tempo.slow and call is not Call.HEARTBEAT:
            await self._take_long(member.rng.choice(tempo.slow_ms))

    async def _meet(self, event: Event, member: _Member, call: Call) -> None:
        """In the middle of a call."""
        worker = member.worker
        self._trace(event.action, worker.run_id, call, event.fault, event.for_ms)
        match event.action:
            case "die_at":
                self._kill(member, "")
            case "hang_at":  # out of the group, and the last to hear of it
                member.deaf_until_s = asyncio.get_running_loop().time() + event.for_ms / 1000
                self._expire(worker)
                await self._take_long(event.for_ms)
            case "raise_at":
                self._raise(member, call)
            case "move_at":
                if event.fault:
                    self.log.fail_next(Fault[event.fault], 1)
                self.log.rebalance(worker.group)
            case "stop_at":
                member.stop.set()

    def _raise(self, member: _Member, call: Call) -> None:
        """What it leaves open is aborted by its next producer, as a client would do it that finds
        a transaction open which it does not know of.
        """
        member.raised = True
        transactions = member.worker._loop._transactions
        if isinstance(transactions, MemoryTransactions):
            transactions._producer = None
        raise Unforeseen(f"{member.worker.run_id} at {call}")

    async def _take_long(self, for_ms: int) -> None:
        self._slow += 1
        try:
            await asyncio.sleep(for_ms / 1000)
        finally:
            self._slow -= 1

    def _expire(self, worker: MemoryWorker) -> None:
        self._died(worker)
        self.log.expire_member(worker.group, worker.source.member_id)

    def _kill(self, member: _Member, by: str, of: tuple[Partition, int] | None = None) -> None:
        """As SIGKILL does. Whether anybody notices at once is left to chance."""
        worker = member.worker
        if member.dead or not worker.source.member_id:  # or it has only just begun
            return
        member.dead = True
        self._died(worker, by, of)
        noticed = self._rng.random() < 0.6
        self._trace("crash", worker.run_id, by, "noticed" if noticed else "")
        worker.crash()
        if noticed:
            with contextlib.suppress(CallFailed):
                self.log.abort_left_open(worker.transactional_id)
            self.log.expire_member(worker.group, worker.source.member_id)

    def _died(
        self, worker: MemoryWorker, by: str = "", of: tuple[Partition, int] | None = None
    ) -> None:
        member_id = worker.source.member_id
        suspects = [
            (source, position)
            for source in sorted(worker.source._owned)
            if (position := self.log.started_by(worker.group, source, member_id)) is not None
        ]
        self.observed.deaths.append(Death(worker.run_id, by, of, tuple(suspects)))

    # --- what handlers tell ------------------------------------------------------------------

    def _observe(self, ctx: Context, subject: str, handler: str) -> _Attempt:
        run_id = ctx._outbox.writer or ""
        member = self._by_run[run_id]
        record = ctx.record
        owned = member.worker._core._by_source.get(record.source)
        run = HandlerRun(
            record.source,
            record.position,
            record.key,
            subject,
            handler,
            run_id,
            owned.token if owned is not None else -1,
            ctx.attempt,
            self._next(),
        )
        self.observed.runs.append(run)
        self._trace("handler", run_id, str(record), subject, handler, ctx.attempt)
        return _Attempt(self, member, run)

    def _next(self) -> int:
        self._order += 1
        return self._order

    # --- what happens ------------------------------------------------------------------------

    async def _publish(self, load: Load) -> None:
        if load.kind is Kind.DUPLICATE and load.of not in self._ids:
            return
        envelope = self._envelope(load)
        self._append(load, envelope, None)

    def _envelope(self, load: Load) -> Envelope:
        subject = load.of or load.subject
        fields: dict[str, Any] = {"priority": load.priority, "ttl_ms": load.ttl_ms}
        if subject in self._ids:
            fields["id"] = self._ids[subject]
        else:
            fields["id"] = self._ids[subject] = f"msg-1767225600000-{len(self._ids):09d}"
        if load.kind is Kind.IMPORT:
            fields["headers"] = {"origin": "import:old"}
        type_name = ASSIGN
        envelope = envelope_of(type_name, subject, load.key, **fields)
        if load.kind is Kind.NO_HANDLER:
            payload = {"acknowledgment": True, "original_message_id": "m", "processed_at": 0}
            envelope = envelope.with_(
                type="agentlog.message.Acknowledged", payload=payload, kind=EnvelopeKind.TASK_RESULT
            )
        return envelope

    def _append(self, load: Load, envelope: Envelope, producer: Producer | None) -> None:
        ready = self._outgoing.prepare(envelope)
        (logical, key) = ready.routes[0]
        value, headers = ready.value, tuple(ready.headers)
        if load.kind is Kind.UNDECODABLE:
            value = value[:8]
        elif load.kind is Kind.UNKNOWN_SCHEMA:
            value = value[:1] + UNKNOWN_SCHEMA_ID.to_bytes(4, "big") + value[5:]
        elif load.kind is Kind.REPLAY:
            headers = (*headers, (REPLAY_OF, dict(headers)[CE_ID]))
        source = Partition(
            self.namespace.topic(logical), partition_for(key, self.schedule.partitions)
        )
        try:
            position = self.log.append(source, key, value, headers, producer=producer)
        except CallFailed:
            return
        self._trace("load", load.subject, load.kind, f"{source}@{position}")
        self.observed.kinds[source, position] = load.kind
        if producer is None:
            self.observed.accepted.append((source, position))

    async def _foreign(self, foreign: Foreign) -> None:
        """Somebody else's transaction: it holds up who reads committed, and leaves a marker."""
        name = f"foreign-{foreign.loads[0].subject}"
        try:
            producer = self.log.init_producer(name, timeout_ms=20_000)
            for load in foreign.loads:
                self._append(load, self._envelope(load), producer)
            await asyncio.sleep(foreign.hold_ms / 1000)
            if foreign.commits:
                self.log.commit(producer)
            else:
                self.log.abort(producer)
        except CallFailed:
            with contextlib.suppress(CallFailed):  # a fault was meant for somebody else
                self.log.abort_left_open(name)

    async def _happen(self, event: Event) -> None:
        member = None
        if self._members:
            slots = sorted(self._members)
            member = self._members[slots[event.slot % len(slots)]]
        app = self.apps[event.slot % len(self.apps)]
        self._trace("event", event.action, event.fault or event.subject, event.times)
        match event.action:
            case "rebalance":
                self.log.rebalance(self.namespace.group(app.name))
            case "fault":
                self.log.fail_next(Fault[event.fault], event.times)
            case "cancel":
                self._cancel(event.subject)
            case _ if member is not None and not member.dead:
                self._befall(event, member)

    def _befall(self, event: Event, member: _Member) -> None:
        worker = member.worker
        match event.action:
            case "crash":
                self._kill(member, "")
            case "expire" if worker.source.member_id:
                self._expire(worker)
            case action if action in AT_CALLS:
                member.awaited[action] = event
            case "deafen":
                now_s = asyncio.get_running_loop().time()
                member.deaf_until_s = now_s + event.for_ms / 1000
            case "stop":
                member.stop.set()
            case "drain":
                self._control(drain(worker.run_id))
            case "repeat":
                worker.source.repeat(event.times)

    def _cancel(self, subject: str) -> None:
        if subject in self._ids:
            self.observed.cancelled.add(self._ids[subject])
            self._control(cancel(self._ids[subject], "not needed"))

    def _control(self, envelope: Envelope) -> None:
        ready = self._outgoing.prepare(envelope)
        control = Partition(self.namespace.topic(CONTROL), 0)
        with contextlib.suppress(CallFailed):
            self.log.append(control, ready.routes[0].key, ready.value, tuple(ready.headers))


class _Attempt:
    """One attempt of a handler; what `apps.Run` wants."""

    def __init__(self, world: World, member: _Member, run: HandlerRun) -> None:
        self._world = world
        self._member = member
        self._run = run

    @property
    def crashes(self) -> int:
        return self._world._crashes[str(self._run.source), str(self._run.position)]

    def end(self, how: str) -> None:
        self._run.ended = self._world._next()
        self._run.how = how
        self._world._trace("handler_ends", self._run.run_id, self._run.subject, how)

    def crash(self) -> None:
        if not self._member.dead:
            self._world._crashes[str(self._run.source), str(self._run.position)] += 1
            place = (self._run.source, self._run.position)
            self._world._kill(self._member, self._run.subject, place)
