"""Aggregates under random schedules: workers that decide, die, hang and are replaced.

One seed is one run: some workers of an `AggregateApp`, commands to a few streams (some of which
expect a version), calls on the log that are slow, fail, or are a worker's last; checkpoints every
few events. When it is quiet, the log is read:

gapless_versions     each stream's versions count from 1, each command's events are there once
single_writer        epochs never decrease on a partition, and each is one process's
replay_equals_live   what is rebuilt is what was decided on, with a checkpoint and without
no_progress          when faults stop, every command has its outcome
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from consumers.aggregates import Aggregate, AggregateApp, Command, Event, MemoryStates, Rebuilding
from consumers.aggregates.restoring import begin, events_of, fold
from consumers.testing.virtual_time import LoopClock, VirtualTimeLoop
from consumers.worker.memory import Call, MemoryWorker
from streams.envelope import Envelope, Kind
from streams.errors import AgentlogError
from streams.memory import CallFailed, Fault, MemoryLog, MemoryLogReader
from streams.outgoing import Outbox
from streams.record import Partition, Record
from streams.schemas import Catalogue, Codec
from streams.shared_state import ENTRY_SET, SET_ENTRY, STATE, entry_stream
from streams.topics import COMMANDS, EVENTS, TOPICS, Namespace
from streams.topics.catalogue import dlq
from streams.topics.partitioning import partition_for

CODEC: Final = Codec(Catalogue.load(), [])
NAMESPACE: Final = Namespace("sim")
PARTITIONS: Final = 2
FAULTY_S: Final = 30.0
"""Virtual seconds in which anything may go wrong."""
QUIET_S_MAX: Final = 600.0
LOOK_S: Final = 0.5
FAULTS: Final = tuple(Fault)
SLOW_S: Final = (0.05, 0.3, 2.0, 12.0)
CHECKERS: Final = ("gapless_versions", "single_writer", "replay_equals_live", "no_progress")

Finding = tuple[str, str]
"""(checker, what it found)."""


def counted() -> Aggregate:
    """Its state counts, and remembers: what a lost or repeated event would change."""
    made = Aggregate(STATE, initial=dict)

    @made.decide(SET_ENTRY)
    def decide(state: dict[str, Any], command: Command) -> Iterator[Envelope]:
        said = command.payload
        for _ in range(1 + len(said["subscribers"])):
            entry = {"key": said["key"], "value": said["value"], "updated_by": "x"}
            yield Envelope(type=ENTRY_SET, payload={**entry, "updated_at": 0})

    @made.evolve(ENTRY_SET)
    def evolve(state: dict[str, Any], event: Event) -> dict[str, Any]:
        state["count"] = state.get("count", 0) + 1
        state["sum"] = (state.get("sum", 7) * 31 + int(event.payload["value"])) % 1_000_003
        return state

    return made


class Streams:
    """The run of one seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"{seed}/streams")
        self.log = MemoryLog(LoopClock(), seed=seed)
        several = {COMMANDS, EVENTS, "snapshots", dlq(COMMANDS)}
        for topic in TOPICS:
            count = PARTITIONS if topic in several else 1
            self.log.create_topic(NAMESPACE.topic(topic), count)
        self.reader = MemoryLogReader(self.log)
        self.findings: list[Finding] = []
        self.happened: Counter[str] = Counter()
        self.calm = self.over = False
        self._sent = 0
        self._started = 0
        self._outgoing = Outbox(
            CODEC,
            sender="load",
            clock=self.log.clock,
            rng=random.Random(seed),
            record_bytes_max=1_000_000,
            namespace=NAMESPACE,
        )

    async def run(self) -> None:
        """Everything, until it is quiet."""
        rng = self.rng
        tick = asyncio.create_task(self._tick())
        slots = [asyncio.create_task(self._keep_going(n)) for n in range(rng.randint(1, 3))]
        loads = [asyncio.create_task(self._load(n)) for n in range(rng.randint(1, 4))]
        troubles = asyncio.create_task(self._trouble())
        await asyncio.gather(*loads)
        await asyncio.sleep(FAULTY_S / 3)
        self.calm = True
        await troubles
        self.log._faults._waiting.clear()
        self.log.deliver_delayed()
        await self._until_quiet()
        self.over = True
        for slot in slots:
            slot.cancel()
        await asyncio.gather(*slots, return_exceptions=True)
        tick.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1)
            self.log.tick()

    async def _load(self, n: int) -> None:
        """One sender of commands; it guesses versions, and is often wrong."""
        rng = random.Random(f"{self.rng.random()}/{n}")
        for _ in range(rng.randint(5, 25)):
            key = f"k{rng.randrange(4)}"
            self._sent += 1
            command = Envelope(
                type=SET_ENTRY,
                kind=Kind.COMMAND,
                id=f"msg-1767225600000-{self._sent:09d}",
                stream_id=entry_stream(key),
                expected_version=rng.randrange(12) if rng.random() < 0.2 else None,
                payload={
                    "key": key,
                    "value": str(self._sent),
                    "subscribers": ["x"] * rng.choice((0, 0, 1)),
                },
                reply_to="somebody" if rng.random() < 0.5 else None,
            )
            ready = self._outgoing.prepare(command)
            (topic, routed) = ready.routes[0]
            source = Partition(NAMESPACE.topic(topic), partition_for(routed, PARTITIONS))
            while True:
                try:
                    self.log.append(source, routed, ready.value, tuple(ready.headers))
                    break
                except CallFailed:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(rng.choice((0, 0, 0.01, 0.2, 1.5)))

    async def _trouble(self) -> None:
        while not self.calm:
            await asyncio.sleep(self.rng.choice((0.1, 0.5, 2.0)))
            match self.rng.randrange(5):
                case 0:
                    self.log.rebalance(NAMESPACE.group("deciders"))
                case 1 | 2:
                    self.log.fail_next(self.rng.choice(FAULTS), 1)
                case 3:
                    self.log.deliver_delayed()
                case 4:
                    await self._hold(self.rng.choice((0.5, 3.0, 8.0)))

    async def _hold(self, for_s: float) -> None:
        """Somebody else's transaction: the stable end of a partition stands while it is open."""
        name = f"foreign-{self.rng.random()}"
        try:
            producer = self.log.init_producer(name, timeout_ms=20_000)
            events = events_of(NAMESPACE, self.rng.randrange(PARTITIONS))
            self.log.append(events, b"x", b"never seen", producer=producer)
            await asyncio.sleep(for_s)
            self.log.abort(producer)
        except CallFailed:  # a fault was meant for somebody else
            self.log.abort_left_open(name)

    async def _keep_going(self, slot: int) -> None:
        """Whoever runs a worker starts it again, whatever ended it."""
        while not self.over:
            worker = self._worker(slot)
            stop = asyncio.Event()
            task = asyncio.create_task(worker.run(stop))
            try:
                while not task.done():
                    await asyncio.sleep(self.rng.choice((0.5, 3.0, 20.0)))
                    if not self.calm and not task.done() and self.rng.random() < 0.3:
                        stop.set()
                        self.happened["stopped"] += 1
                await task
            except asyncio.CancelledError:
                if self.over:
                    stop.set()
                    await asyncio.wait({task})
                    if not task.cancelled() and (failed := task.exception()) is not None:
                        self._note_failure(failed)
                    raise
            except AgentlogError as error:
                self._note_failure(error)
            await asyncio.sleep(self.rng.choice((0, 0.2, 3.0)))

    def _note_failure(self, error: BaseException) -> None:
        self.happened["failed"] += 1
        if self.calm:
            self.findings.append(("no_progress", f"a worker failed: {error}"))

    def _worker(self, slot: int) -> MemoryWorker:
        self._started += 1
        rng = random.Random(f"{self.rng.random()}/{slot}")
        app = AggregateApp(
            "deciders",
            counted(),
            checkpoint_positions=5,
            checkpoint_look_s=2.0,
            commit_linger_ms=rng.choice((0, 5, 50)),
            drain_s_max=1.0,
            dedup_window=rng.choice((0, 20)),
        )

        async def pace(call: Call) -> None:
            await self._pace(worker, rng, call)

        worker = MemoryWorker(
            app,
            self.log,
            NAMESPACE,
            CODEC,
            run_id=f"run-{self._started}",
            seed=self._started,
            pace=pace,
        )
        return worker

    async def _pace(self, worker: MemoryWorker, rng: random.Random, call: Call) -> None:
        if self.calm:
            return
        lot = rng.random()
        if lot < 0.004 and worker.source.member_id:
            self.happened[f"died at {call}"] += 1
            worker.crash()
            if rng.random() < 0.5:  # somebody notices
                self.log.abort_left_open(worker.transactional_id)
                self.log.expire_member(worker.group, worker.source.member_id)
        elif lot < 0.03:
            await asyncio.sleep(rng.choice(SLOW_S))

    async def _until_quiet(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + QUIET_S_MAX
        group = NAMESPACE.group("deciders")
        sources = self.log.partitions(NAMESPACE.topic(COMMANDS))
        while True:
            known = self.log._of(group).committed(list(sources), stable=False)
            left = [
                source
                for source in sources
                if (found := known[source]) is None
                or found.position < self.log.end(source, committed=False)
            ]
            left = [one for one in left if self.log.end(one, committed=False)]
            if not left:
                return
            if loop.time() > deadline:
                self.findings.append(("no_progress", f"{left} were not worked off"))
                return
            await asyncio.sleep(LOOK_S)

    # --- what is on the log ------------------------------------------------------------------

    def check(self) -> None:
        """All checkers, over every partition."""
        for index in range(PARTITIONS):
            source = events_of(NAMESPACE, index)
            end = self.log.end(source)
            records = [one for batch in self.reader.read(source, 0, end) for one in batch]
            self.findings += [("single_writer", one) for one in single_writer(records)]
            self.findings += [("gapless_versions", one) for one in gapless_versions(records)]
            self.findings += [
                ("replay_equals_live", one) for one in self._replayed(index, source, end)
            ]

    def _replayed(self, index: int, source: Partition, end: int) -> Iterator[str]:
        whole, short = MemoryStates(), MemoryStates()
        try:
            rebuilding = Rebuilding([counted()], CODEC, whole, verify=True)
            fold(rebuilding, self.reader, source, 0, end)
            again, start = begin(
                [counted()], self.reader, CODEC, NAMESPACE, index, short, end_max=end
            )
            fold(again, self.reader, source, start, end)
        except AgentlogError as error:
            yield str(error)
            return
        self.happened["from a checkpoint" if start else "from the first event"] += 1
        if list(whole.items()) != list(short.items()) or rebuilding.epoch != again.epoch:
            yield f"{source}: with the checkpoint at {start} the states are others"


def single_writer(records: list[Record]) -> Iterator[str]:
    """Epochs never decrease, and each is one process's."""
    highest, writers = 0, dict[int, str]()
    for record in records:
        envelope = CODEC.decode(record.value, record.headers)
        epoch, writer = envelope.writer_epoch, envelope.writer
        if epoch is None or writer is None:
            continue
        if epoch < highest:
            yield f"{record} has epoch {epoch}, after {highest}"
        if writers.setdefault(epoch, writer) != writer:
            yield f"{record}: epoch {epoch} is {writer}'s and {writers[epoch]}'s"
        highest = max(highest, epoch)


def gapless_versions(records: list[Record]) -> Iterator[str]:
    """Versions count from 1, and a command's events are there once, beside each other."""
    versions: Counter[str] = Counter()
    by_cause: dict[str, list[int]] = defaultdict(list)
    for record in records:
        envelope = CODEC.decode(record.value, record.headers)
        if envelope.stream_version is None or envelope.stream_id is None:
            continue
        versions[envelope.stream_id] += 1
        if envelope.stream_version != versions[envelope.stream_id]:
            yield (
                f"{record}: {envelope.stream_id} has version {envelope.stream_version} in place "
                f"{versions[envelope.stream_id]}"
            )
        by_cause[envelope.causation_id or ""].append(envelope.stream_version)
    for cause, found in by_cause.items():
        if found != list(range(found[0], found[0] + len(found))) or len(found) > 2:
            yield f"the events of {cause} have versions {found}"


class Result(msgspec.Struct, frozen=True):
    """What became of a seed."""

    seed: int
    findings: tuple[Finding, ...]
    happened: dict[str, int]

    def __str__(self) -> str:
        told = "\n".join(f"  {name}: {what}" for name, what in self.findings)
        return f"seed {self.seed} of the streams:\n{told}"


def run_streams(seed: int) -> Result:
    """Run one seed in virtual time."""
    loop = VirtualTimeLoop(virtual_s_max=2 * 3600.0)
    streams: Streams | None = None

    async def main() -> None:
        nonlocal streams
        streams = Streams(seed)
        await streams.run()

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    assert streams is not None
    streams.check()
    return Result(seed, tuple(streams.findings), dict(streams.happened))
