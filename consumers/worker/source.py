"""The Kafka source: one consumer on a thread of its own, which hands batches to the event loop.

- KIP-848 group, read-committed, nothing committed by itself, incremental assignment only.
- Group metadata is taken once per assignment, in `on_assign` (H3).
- Back-pressure: while the window is closed the thread just waits, for what the client has queued
  is bounded; if that takes longer than `PATIENCE_S` it pauses the partitions and goes on polling
  (H9), and resumes when the window opens. A pause costs what was queued: resuming fetches again.
- Partitions take turns: the client fetches little of each at a time, and no more than is soon run.
  By its own defaults it would queue one partition's backlog whole before the next one's begins.
- A partition is read from `read_back` positions below the committed one on: what repeats is known
  by what was there before.
- A partition may come back while a commit of its earlier assignment is under way: one that was
  lost (a heartbeat answered too late) comes back to the same member, and the coordinator takes that
  commit. So its committed position is read when no commit of before is under way (H13).
- Revocation blocks this thread, not the loop, until the loop has settled what it could.
- While nothing arrives it tells the consumer's positions, which pass transaction markers.
- A member that never hears of its assignment leaves and joins again (H12).
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import structlog
from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from consumers.marks import Mark
from consumers.window import CLIENT_QUEUE_BYTES, RECORD_OVERHEAD_BYTES, Window
from consumers.worker.assignment import record_size
from consumers.worker.ports import Assigned, Committed, SourceListener
from consumers.worker.positions import commit_positions, committed_positions, warn_of_removed
from streams.errors import BrokerError
from streams.kafka.batches import record_of
from streams.kafka.complaints import Complaints
from streams.kafka.membership import Membership
from streams.record import Partition, Record

POLL_S: Final = 0.1
"""Longest wait for a record, and so for a command while nothing arrives."""
COMMIT_POLL_S: Final = 0.005
"""The same once positions are committed outside of transactions: a commit waits for it."""
SERVE_S: Final = 0.005
"""How often a waiting revocation looks for what the loop asks for."""
BATCH_MAX: Final = 250
"""Records handed over at once."""
AHEAD_MAX: Final = 2
"""Batches handed over and not taken in yet: a window that opens would flood the event loop."""
ROOM_POLL_S: Final = 0.005
PATIENCE_S: Final = 0.5
"""How long a closed window is waited for before partitions are paused."""
PAUSED_POLL_S: Final = 0.05

CONFIG: Final[Mapping[str, Any]] = {
    "group.protocol": "consumer",
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
    "queued.max.messages.kbytes": CLIENT_QUEUE_BYTES // 1024,
    "max.partition.fetch.bytes": 64 * 1024,
    "queued.min.messages": 2_000,
    "fetch.queue.backoff.ms": 20,  # how long a full queue is left alone; by default 1 s
    "fetch.wait.max.ms": 100,
    "enable.partition.eof": False,
}

_log: Final = structlog.get_logger("agentlog.worker.source")


class KafkaSource:
    """`Source` over one confluent-kafka consumer. `group` and `topics` are full names."""

    def __init__(
        self,
        bootstrap_servers: str,
        group: str,
        topics: Sequence[str],
        window: Window,
        *,
        revoke_s_max: float,
        read_back: int = 0,
        client_id: str = "agentlog",
    ) -> None:
        self._config = {
            **CONFIG,
            "bootstrap.servers": bootstrap_servers,
            "group.id": group,
            "client.id": client_id,
            "error_cb": self._on_error,
        }
        self._topics = list(topics)
        self._window = window
        self._revoke_s_max = revoke_s_max
        self._read_back = read_back
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._commits: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="agentlog-source", daemon=True)
        self._tokens: dict[Partition, int] = {}
        self._metadata: dict[Partition, Any] = {}
        self._told: dict[Partition, int] = {}
        self._last_token = 0
        self._over = threading.Event()
        self._ahead = threading.Semaphore(AHEAD_MAX)
        self._poll_s = POLL_S
        self._paused = False
        self._held: frozenset[Partition] = frozenset()
        self._fatal: KafkaError | None = None
        self._complaints = Complaints(_log, "consumer_error")

    # --- the port ----------------------------------------------------------------------------

    def start(self, listener: SourceListener) -> None:
        """Join the group; `listener` is called on the running event loop."""
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def reload(self, sources: Sequence[Partition]) -> None:
        """Go back to the committed positions of these partitions."""
        wanted = tuple(sources)
        self._commands.put(lambda: self._reload(wanted))

    def hold(self, sources: frozenset[Partition]) -> None:
        """Read these no further until told otherwise; all others are read."""
        self._commands.put(lambda: self._hold(sources))

    async def commit(self, marks: Mapping[int, Mark]) -> Committed:
        """Commit the positions of what is ours under these tokens, outside of any transaction.

        On the consumer's thread: a commit from another one hangs while a rebalance is under way.
        Nobody knows what became of it once that thread has ended.
        """
        if self._over.is_set():
            return Committed.UNKNOWN
        done: asyncio.Future[Committed] = asyncio.get_running_loop().create_future()
        self._poll_s = COMMIT_POLL_S  # commits come again and again
        self._commits.put(lambda: self._commit(marks, done))
        if self._over.is_set():  # just now: it may not have seen this any more
            return Committed.UNKNOWN
        return await done

    async def stop(self) -> None:
        """Leave the group and end the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    # --- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._membership = Membership(
                self._config["bootstrap.servers"],
                self._config["group.id"],
                queue_bytes=CLIENT_QUEUE_BYTES,
            )
            self._consumer = Consumer(self._config, logger=self._membership)
            try:
                self._join()
                while not self._stopping.is_set():
                    self._step()
            finally:
                self._consumer.close()
                self._membership.close()
        except Exception as error:  # noqa: BLE001 - the loop must hear of whatever ended us
            self._tell(self._listener.on_source_failed, error)
        finally:
            self._over.set()
            while not (self._commits.empty() and self._commands.empty()):
                with contextlib.suppress(RuntimeError, KafkaException):  # there is no consumer
                    self._obey()

    def _join(self) -> None:
        self._consumer.subscribe(
            self._topics,
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _step(self) -> None:
        if self._fatal is not None:
            raise BrokerError(
                f"the consumer of group {self._config['group.id']} cannot go on: "
                f"{self._fatal.str()}"
            )
        self._obey()
        if self._membership.is_out_of_step(self._consumer, self._tokens.keys()):
            self._consumer.unsubscribe()
            self._join()
        room = self._window.room()
        if room == 0:
            self._wait_for_room()
            return
        if self._paused:
            self._consumer.resume(self._readable())
            self._paused = False
        first = self._consumer.poll(self._poll_s)
        if first is None:
            self._membership.drained()
            self._tell_positions()
            return
        # `consume` serves rebalances too: what it or `poll` took before one is another's by now.
        tokens = dict(self._tokens)
        more = min(room, BATCH_MAX) - 1
        self._deliver([first, *self._consumer.consume(more, 0)] if more else [first], tokens)

    def _obey(self) -> None:
        """Do what the loop asked for."""
        for asked in (self._commits, self._commands):
            while not asked.empty():
                asked.get()()

    def _commit(self, marks: Mapping[int, Mark], done: asyncio.Future[Committed]) -> None:
        # A partition that came back begins anew: under its old token it has nothing to say.
        ours = {source: marks[token] for source, token in self._tokens.items() if token in marks}
        self._tell(_resolve, done, commit_positions(self._consumer, ours))

    def _wait_for_room(self) -> None:
        if self._paused:
            self._stopping.wait(PAUSED_POLL_S)
            message = self._consumer.poll(0)
            if message is None:
                self._membership.drained()
            else:
                self._deliver([message], self._tokens)
            return
        for _ in range(int(PATIENCE_S / ROOM_POLL_S)):
            asked = not (self._commits.empty() and self._commands.empty())
            if asked or self._stopping.wait(ROOM_POLL_S) or self._window.room():
                return
        self._consumer.pause(self._assignment())
        self._paused = True

    def _deliver(self, messages: Sequence[Message], tokens: Mapping[Partition, int]) -> None:
        """Hand over what came under these assignments; what changed hands since is read again."""
        batches: dict[int, list[Record]] = {}
        stale: set[Partition] = set()
        current = self._tokens
        count = size = 0
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_error(error)
                continue
            topic: Any = message.topic()
            partition: Any = message.partition()
            token = tokens.get((topic, partition))  # type: ignore[call-overload]
            if token is None or current.get((topic, partition)) != token:  # type: ignore[call-overload]
                stale.add(Partition(topic, partition))
                continue
            record = record_of(message)
            count += 1
            size += record_size(record)
            batch = batches.get(token)
            if batch is None:
                batches[token] = [record]
            else:
                batch.append(record)
        if batches:
            self._window.take(count, size)
            self._membership.took(size - count * RECORD_OVERHEAD_BYTES)
            # A loop that is held up for longer gets them all the same: polling must go on (H9).
            paced = self._ahead.acquire(timeout=PATIENCE_S)
            self._tell(self._take_in, tuple(batches.items()), paced)
        if stale:
            self._reload(tuple(stale))

    def _take_in(self, batches: Sequence[tuple[int, Sequence[Record]]], paced: bool) -> None:
        """On the event loop."""
        if paced:
            self._ahead.release()
        self._listener.on_records(batches)

    def _tell_positions(self) -> None:
        """Positions that moved although nothing arrived: markers, aborted, compacted."""
        if not self._tokens:
            return
        moved = []
        for found in self._consumer.position(self._assignment()):
            source = Partition(found.topic, found.partition)
            if found.offset >= 0 and self._told.get(source) != found.offset:
                self._told[source] = found.offset
                moved.append((self._tokens[source], found.offset))
        if moved:
            self._tell(self._listener.on_read_to, moved)

    # --- rebalancing (called inside poll) ----------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        if self._stopping.is_set():
            # `close` serves what was assigned meanwhile: the client names no committed position
            # any more, and nobody would read from it.
            return
        if partitions and not self._at_rest():
            return
        metadata = consumer.consumer_group_metadata()
        starts = committed_positions(consumer, partitions, self._stopping.wait)
        consumer.incremental_assign([self._first_read(start) for start in starts])
        # The client keeps a partition's pause beyond its assignment, so it is set either way.
        if starts:
            (consumer.pause if self._paused else consumer.resume)(starts)
        for start in starts:
            self._metadata[Partition(start.topic, start.partition)] = metadata
        self._tell_assigned(starts)
        warn_of_removed(consumer, starts)

    def _at_rest(self) -> bool:
        """Wait until no commit is under way that was before; False if we stop meanwhile.

        A commit ends, or the watchdog ends the process.
        """
        rested = threading.Event()
        if not self._tell(self._listener.on_assigning, rested.set):
            return False
        while not rested.wait(SERVE_S):
            while not self._commits.empty():
                self._commits.get()()
            if self._stopping.is_set():
                return False
        return True

    def _first_read(self, start: TopicPartition) -> TopicPartition:
        # Below the beginning the client goes to the beginning (auto.offset.reset).
        first = max(0, start.offset - self._read_back)
        return TopicPartition(start.topic, start.partition, first)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        sources = [Partition(found.topic, found.partition) for found in partitions]
        settled = threading.Event()
        told = self._tell(self._listener.on_revoking, sources, settled.set)
        if told and not self._served_until(settled):
            _log.warning("revoked_unsettled", partitions=[str(source) for source in sources])
        self._on_lost(consumer, partitions)

    def _served_until(self, settled: threading.Event) -> bool:
        """Wait for the loop, which may have positions to commit; nothing is reloaded meanwhile."""
        give_up_at = time.monotonic() + self._revoke_s_max
        while not settled.wait(SERVE_S):
            while not self._commits.empty():
                self._commits.get()()
            if time.monotonic() > give_up_at:
                return False
        return True

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        sources = [Partition(found.topic, found.partition) for found in partitions]
        for source in sources:
            for known in (self._tokens, self._metadata, self._told):
                known.pop(source, None)
        self._tell(self._listener.on_lost, sources)
        consumer.incremental_unassign(partitions)

    def _reload(self, sources: Sequence[Partition]) -> None:
        ours = [TopicPartition(*source) for source in sources if source in self._tokens]
        starts = committed_positions(self._consumer, ours, self._stopping.wait)
        for start in starts:
            self._consumer.seek(self._first_read(start))
        self._tell_assigned(starts)
        # Until it has read on, the client may still give the position of before.
        for found in self._consumer.position(ours) if ours else ():
            self._told[Partition(found.topic, found.partition)] = found.offset

    def _tell_assigned(self, starts: Sequence[TopicPartition]) -> None:
        assigned = []
        for start in starts:
            source = Partition(start.topic, start.partition)
            self._last_token += 1
            self._tokens[source] = self._last_token
            self._told[source] = start.offset
            assigned.append(
                Assigned(
                    self._last_token,
                    source,
                    start.offset,
                    start.metadata or "",
                    self._metadata[source],
                )
            )
        if assigned:
            self._tell(self._listener.on_assigned, assigned)

    # --- odds and ends -----------------------------------------------------------------------

    def _hold(self, sources: frozenset[Partition]) -> None:
        """Pause and resume what the new set differs in, unless all are paused anyway."""
        released, self._held = self._held - sources, sources
        if self._paused:
            return
        ours = self._tokens.keys()
        if held := [TopicPartition(*source) for source in sources & ours]:
            self._consumer.pause(held)
        if free := [TopicPartition(*source) for source in released & ours]:
            self._consumer.resume(free)

    def _assignment(self) -> list[TopicPartition]:
        return [TopicPartition(source.topic, source.index) for source in self._tokens]

    def _readable(self) -> list[TopicPartition]:
        return [TopicPartition(*source) for source in self._tokens if source not in self._held]

    def _tell(self, callback: Callable[..., None], *values: Any) -> bool:
        """Call it on the event loop; False if that is closed already."""
        try:
            self._loop.call_soon_threadsafe(self._call, callback, *values)
        except RuntimeError:
            return False
        return True

    def _call(self, callback: Callable[..., None], *values: Any) -> None:
        """On the event loop: what a callback could not take in must not pass as done."""
        try:
            callback(*values)
        except Exception as error:  # noqa: BLE001 - nobody else hears of it
            self._listener.on_source_failed(error)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self._fatal = error
        else:
            self._complaints.tell(error)


def _resolve(done: asyncio.Future[Committed], how: Committed) -> None:
    if not done.done():
        done.set_result(how)
