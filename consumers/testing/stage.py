"""A stage: a log in memory, and the real workers of your apps on it.

    @virtual_time
    async def test_a_review_is_finished() -> None:
        async with MemoryStage(app) as stage:
            task = await stage.publish(Envelope(type="agentlog.task.AssignTask", payload={...}))
            await stage.idle()
            assert stage.outcome(task.id).outcome is Outcome.HANDLED
            assert stage.payloads("agentlog.task.TaskFinished") == [{...}]

Envelopes, schemas, routing, handlers, retries, dead letters, the journal and the transactions are
those of production; only Kafka is not there. In virtual time retries, timeouts and rebalances take
none. Works on any event loop; only `advance` needs virtual time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Final, Self

from consumers.app import App
from consumers.journal import OUTCOMES_RECORDED, Ending, Outcome
from consumers.journal.runs import decode_runs
from consumers.testing.virtual_time import LoopClock, VirtualTimeLoop
from consumers.worker.memory import MemoryWorker, Pace, at_once, memory_client
from streams.client import Client
from streams.envelope import Envelope
from streams.errors import AgentlogError, ConfigurationError, DecodeError
from streams.kafka.publisher import Published
from streams.kafka.schema_topic import SchemaTopic
from streams.memory import MemoryLog, MemoryLogReader, MemoryPublisher
from streams.record import Partition, Record
from streams.schemas import Catalogue, Codec, StoredPayload
from streams.topics import JOURNAL, SCHEMAS, TOPICS, Namespace

IDLE_S_MAX: Final = 600.0
"""How long `idle` waits unless told otherwise: longer than all attempts of a record take."""
TICK_S: Final = 1.0
"""Between two looks of the log at what has timed out."""


class NotIdle(AgentlogError):
    """Something that was published has no outcome yet; the message says where."""


class MemoryStage:
    """See the module. Use it as `async with MemoryStage(app) as stage:`; it starts one worker of
    each app, and stops them at the end.

    `catalogue` is for schemas of your own (`Catalogue.load(folder)`), `seed` decides ids and
    everything else that is left to chance.
    """

    def __init__(
        self,
        *apps: App,
        catalogue: Catalogue | None = None,
        namespace: str = "test",
        seed: int = 0,
        pace: Pace = at_once,
    ) -> None:
        self.apps = apps
        self.namespace = Namespace(namespace)
        self.log = MemoryLog(LoopClock(), seed=seed)
        self.log.provision(self.namespace)
        self.reader = MemoryLogReader(self.log)
        schemas = SchemaTopic("memory", self.namespace, reader=self.reader)
        self.codec = Codec(catalogue or Catalogue.load(), [schemas])
        self.workers: list[MemoryWorker] = []
        """All that run, in the order they were started."""
        self._publisher = MemoryPublisher(
            self.log, self.namespace, self.codec, sender="test", seed=seed
        )
        self._seed = seed
        self._pace = pace
        self._started = 0
        self._clients = 0
        self._running: dict[MemoryWorker, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._ticking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._ticking = asyncio.create_task(self._tick(), name="memory-stage")
        for app in self.apps:
            self.start_worker(app)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            for worker in tuple(self.workers):
                await self.stop_worker(worker)
        finally:
            if self._ticking is not None:
                self._ticking.cancel()

    # --- workers -----------------------------------------------------------------------------

    def start_worker(self, app: App | None = None) -> MemoryWorker:
        """One more worker of an app (default: the first); its group deals partitions anew."""
        self._started += 1
        worker = MemoryWorker(
            app or self.apps[0],
            self.log,
            self.namespace,
            self.codec,
            run_id=f"run-{self._started}",
            seed=self._seed + self._started,
            pace=self._pace,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(worker.run(stop), name=f"worker {worker.run_id}")
        self._running[worker] = task, stop
        self.workers.append(worker)
        return worker

    async def stop_worker(self, worker: MemoryWorker) -> None:
        """Let it drain, commit and leave. Raises what ended it before, if something did."""
        task, stop = self._running.pop(worker)
        self.workers.remove(worker)
        stop.set()
        await task

    async def crash(self, worker: MemoryWorker | None = None, *, noticed: bool = True) -> None:
        """Kill a worker (default: the first), as SIGKILL would.

        If it is `noticed`, as a supervisor notices, its open transaction is ended and it is out of
        its group at once; else both are found out by their timeouts, of 10 s and 6 s.
        """
        worker = worker or self.workers[0]
        task, _ = self._running.pop(worker)
        self.workers.remove(worker)
        worker.crash()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if noticed:
            self.log.abort_left_open(worker.transactional_id)
            self.log.expire_member(worker.group, worker.source.member_id)

    # --- publishing and waiting --------------------------------------------------------------

    async def publish(self, envelope: Envelope) -> Published:
        """Put an envelope on the log, as a publisher does; its sender is `test` unless it says."""
        return await self._publisher.publish(envelope)

    async def publish_many(self, envelopes: Iterable[Envelope]) -> list[Published]:
        """Put many on the log, in order."""
        return await self._publisher.publish_many(envelopes)

    def client(self, sender: str = "test") -> Client:
        """A client that asks agents and awaits their answers; use it with `async with`."""
        self._clients += 1
        return memory_client(
            self.log,
            self.namespace,
            self.codec,
            sender=sender,
            instance=f"{sender}-{self._clients}",
            seed=self._seed - self._clients,
        )

    async def idle(self, within_s: float = IDLE_S_MAX) -> None:
        """Wait until all that is on the apps' topics has an outcome, is committed, and can be read.

        That includes what handlers published meanwhile, and retries to their end; and that no
        transaction is open, as one is that a crashed worker left. Raises `NotIdle` after
        `within_s` seconds (virtual ones cost nothing), and what ended a worker.
        """
        changed = asyncio.Event()
        unwatch = self.log.watch(changed.set)
        try:
            async with asyncio.timeout(within_s):
                while self.unfinished() or self.log.unsettled:
                    await self._change(changed)
        except TimeoutError:
            raise NotIdle(f"after {within_s:g} s: {'; '.join(self._unsettled())}") from None
        finally:
            unwatch()

    def _unsettled(self) -> list[str]:
        return [
            f"{group} has committed {source} up to {position} of {end}"
            for group, source, position, end in self.unfinished()
        ] + [f"a transaction is open on {source}" for source in self.log.unsettled]

    async def _change(self, changed: asyncio.Event) -> None:
        """Wait for a change of the log, or for the end of a worker, which is no good end."""
        waiting = asyncio.create_task(changed.wait(), name="idle")
        tasks = {task for task, _ in self._running.values()}
        try:
            await asyncio.wait({waiting, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        for worker, (task, _) in tuple(self._running.items()):
            if task.done():
                self._running.pop(worker)
                self.workers.remove(worker)
                task.result()
        changed.clear()

    def unfinished(self) -> list[tuple[str, Partition, int, int]]:
        """What is not committed yet: group, partition, committed position, end."""
        found = []
        for app in self.apps:
            group = self.namespace.group(app.name)
            sources = [one for topic in app.topics for one in self._partitions(topic)]
            for source, mark in self.log.committed(group, sources, stable=False).items():
                position = mark.position if mark else self.log.start(source)
                if position < (end := self.log.end(source, committed=False)):
                    found.append((group, source, position, end))
        return found

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass, and whatever is due in it happen."""
        if not isinstance(asyncio.get_running_loop(), VirtualTimeLoop):
            raise ConfigurationError(
                "this event loop runs in real time; decorate the test with "
                "consumers.testing.virtual_time"
            )
        await asyncio.sleep(seconds)

    # --- what is on the log ------------------------------------------------------------------

    def records(self, topic: str) -> list[Record]:
        """Every visible record of a topic (its logical name, as in `tasks.dlq`), as bytes."""
        return [
            record
            for source in self._partitions(topic)
            for batch in self.reader.read(source, self.log.start(source), self.log.end(source))
            for record in batch
        ]

    def envelopes(self, topic: str) -> list[Envelope]:
        """The same, decoded. Raises `DecodeError` for what is none."""
        return [self.codec.decode(one.value, one.headers) for one in self.records(topic)]

    def outputs(self, type_name: str | None = None) -> list[Envelope]:
        """What the apps' workers wrote, of this payload type or of any, in the order of appends
        as far as times tell. Not the journal.
        """
        written = [
            (record, envelope)
            for topic in TOPICS
            if topic not in {SCHEMAS, JOURNAL} and not topic.endswith(".dlq")
            for record, envelope in self._decoded(topic)
            if envelope.writer and (type_name is None or envelope.type == type_name)
        ]
        written.sort(key=lambda one: one[0].appended_at_ms)
        return [envelope for _, envelope in written]

    def payloads(self, type_name: str) -> list[dict[str, Any]]:
        """The payloads of `outputs`, as plain dicts to compare with."""
        return [_plain(one.payload) for one in self.outputs(type_name)]

    def outcome(self, envelope_id: str, app: App | None = None) -> Ending | None:
        """How an app (default: the first) finished with an envelope; None: not yet.

        Where it has several records (one per recipient), that of the first of them.
        """
        return next(iter(self.outcomes(envelope_id, app).values()), None)

    def outcomes(self, envelope_id: str, app: App | None = None) -> dict[Record, Ending]:
        """How each finished record of an envelope ended in an app (default: the first)."""
        app = app or self.apps[0]
        endings = dict(self._endings(self.namespace.group(app.name)))
        return {
            record: endings[record.source, record.position]
            for topic in app.topics
            for record, envelope in self._decoded(topic)
            if envelope.id == envelope_id and (record.source, record.position) in endings
        }

    def _endings(self, group: str) -> Iterator[tuple[tuple[Partition, int], Ending]]:
        """What the group's journal says of each position."""
        for envelope in self.envelopes(JOURNAL):
            payload = envelope.payload
            if envelope.type != OUTCOMES_RECORDED or payload["group"] != group:
                continue
            source = Partition(payload["topic"], payload["partition"])
            for finished in payload["finished"]:
                ending = Ending(Outcome(finished["outcome"]))
                for run in decode_runs(finished["runs"]):
                    yield from (((source, position), ending) for position in run)
            for one in payload["exceptions"]:
                ending = Ending(Outcome(one["outcome"]), one["reason"], one["detail"])
                yield (source, one["position"]), ending

    def _decoded(self, topic: str) -> Iterator[tuple[Record, Envelope]]:
        for record in self.records(topic):
            with contextlib.suppress(DecodeError):
                yield record, self.codec.decode(record.value, record.headers)

    def _partitions(self, topic: str) -> tuple[Partition, ...]:
        return self.log.partitions(self.namespace.topic(topic))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.log.tick()


def _plain(payload: Any) -> dict[str, Any]:
    return dict(payload.fields if isinstance(payload, StoredPayload) else payload)
