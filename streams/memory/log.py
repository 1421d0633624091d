"""The log in memory: what a Kafka cluster does for Agentlog, in one process, deterministic.

    log = MemoryLog(clock)
    log.provision(Namespace("test"))
    position = log.append(Partition("test.tasks", 0), b"key", b"value")

No threads, no event loop, no time of its own: every call happens at once, at the time that the
`Clock` tells, and the same calls in the same order give the same log. Timeouts (of transactions
and of group members) happen in `tick`. Calls fail with `CallFailed` where Kafka would answer an
error, and where a fault was planned (`fail_next`).

What it is not: there is one replica, which is always there; brokers, leaders and coordinators do
not move, and nothing is compacted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from streams.memory.failures import CallFailed, Failure
from streams.memory.faults import COMMIT_FAULTS, Fault, Faults
from streams.memory.groups import Group, GroupMetadata, Heartbeat
from streams.memory.partition import Fetched, Headers, PartitionLog
from streams.memory.positions import CommittedPosition, Positions, require_small
from streams.memory.producers import TIMEOUT_MS, OpenTransaction, Producer, Producers
from streams.ports import Clock, SystemClock
from streams.record import Partition
from streams.topics import TOPICS, Namespace, Topic
from streams.topics.catalogue import RECORD_BYTES_MAX

SESSION_TIMEOUT_MS: Final = 6_000
"""After which a silent group member is removed; as on the embedded Kafka."""
FETCH_MAX: Final = 500
"""Records that one fetch brings."""


class MemoryLog:
    """Topics, transactions and groups; see the module. `seed` decides what `rebalance` does."""

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        seed: int = 0,
        session_timeout_ms: int = SESSION_TIMEOUT_MS,
        cluster_id: str = "memory",
    ) -> None:
        self.clock = clock or SystemClock()
        self.cluster_id = cluster_id
        self._session_timeout_ms = session_timeout_ms
        self._rng = random.Random(seed)
        self._topics: dict[str, tuple[PartitionLog, ...]] = {}
        self._topic_ids: dict[str, str] = {}
        self._bytes_max: dict[str, int] = {}
        self._producers = Producers()
        self._groups: dict[str, Group] = {}
        self._positions: dict[str, Positions] = {}
        self._faults = Faults()
        self._watchers: list[Callable[[], None]] = []
        self._members = 0

    # --- topics ------------------------------------------------------------------------------

    def create_topic(
        self, name: str, partitions: int, *, bytes_max: int = RECORD_BYTES_MAX
    ) -> None:
        """Add a topic by its full name; one that exists is made anew, with another id."""
        self._topics[name] = tuple(
            PartitionLog(Partition(name, index)) for index in range(partitions)
        )
        self._topic_ids[name] = f"topic-{len(self._topic_ids)}-{self._rng.getrandbits(32):08x}"
        self._bytes_max[name] = bytes_max
        for group in self._groups.values():
            group.reassign()
        self._changed()

    def provision(self, namespace: Namespace, catalogue: Mapping[str, Topic] = TOPICS) -> None:
        """Create what is missing of the namespace's topics."""
        for logical, topic in catalogue.items():
            full = namespace.topic(logical)
            if full not in self._topics:
                bytes_max = int(topic.config.get("max.message.bytes", RECORD_BYTES_MAX))
                self.create_topic(full, topic.partitions, bytes_max=bytes_max)

    def partitions(self, topic: str) -> tuple[Partition, ...]:
        """A topic's partitions; none if it does not exist."""
        return tuple(one.source for one in self._topics.get(topic, ()))

    @property
    def unsettled(self) -> list[Partition]:
        """Partitions with records that an open transaction keeps from being read."""
        return [
            one.source for logs in self._topics.values() for one in logs if one.stable_end < one.end
        ]

    def topic_id(self, topic: str) -> str:
        """What tells this topic from an earlier one of its name."""
        return self._topic_ids[topic]

    # --- records -----------------------------------------------------------------------------

    def append(
        self,
        source: Partition,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        *,
        producer: Producer | None = None,
    ) -> int:
        """Write a record, in the producer's transaction if there is one; its position.

        Raises `CallFailed`: `UNKNOWN_TOPIC_OR_PARTITION`, `MESSAGE_TOO_LARGE`, `PRODUCER_FENCED`.
        """
        log = self._log(source)
        if producer is not None:
            self._fail(Fault.APPEND_REFUSED, Failure.TRANSACTION_ABORTABLE, f"append to {source}")
        size = len(key or b"") + len(value or b"")
        size += sum(len(name.encode()) + len(content) for name, content in headers)
        if size > self._bytes_max[source.topic]:
            raise CallFailed(
                Failure.MESSAGE_TOO_LARGE,
                f"a record of {size} bytes for {source}; the limit is "
                f"{self._bytes_max[source.topic]}",
            )
        if producer is None:
            position = log.append(self._now_ms(), key, value, headers)
        else:
            transaction = self._producers.open(producer, self._now_ms())
            transaction.partitions[source] = None
            position = log.append(self._now_ms(), key, value, headers, producer.transactional_id)
        self._changed()
        return position

    def fetch(
        self,
        source: Partition,
        position: int,
        *,
        end: int | None = None,
        count_max: int = FETCH_MAX,
        committed: bool = True,
    ) -> Fetched:
        """Visible records from `position` on, below `end`, and where to read on.

        Raises `CallFailed`: `UNKNOWN_TOPIC_OR_PARTITION`, `OFFSET_OUT_OF_RANGE`.
        """
        return self._log(source).fetch(position, end=end, count_max=count_max, committed=committed)

    def start(self, source: Partition) -> int:
        """The first position that is still there."""
        return self._log(source).start

    def end(self, source: Partition, *, committed: bool = True) -> int:
        """The position behind the last that may be read: the LSO, or, uncommitted, the end."""
        log = self._log(source)
        return log.stable_end if committed else log.end

    def first_after(self, source: Partition, epoch_ms: int) -> int:
        """The first position that was appended after this time, else the end."""
        return self._log(source).first_after(epoch_ms)

    def remove_before(self, source: Partition, position: int) -> None:
        """Remove what is below `position`, as retention does."""
        self._log(source).remove_before(position)
        self._changed()

    # --- transactions ------------------------------------------------------------------------

    def init_producer(self, transactional_id: str, *, timeout_ms: int = TIMEOUT_MS) -> Producer:
        """Take over a transactional id: its open transaction is aborted, its producer fenced."""
        self._fail(Fault.INIT_UNANSWERED, Failure.NO_ANSWER, f"init of {transactional_id}")
        return self._take_over(transactional_id, timeout_ms)

    def send_positions(
        self,
        producer: Producer,
        metadata: GroupMetadata,
        positions: Mapping[Partition, CommittedPosition],
    ) -> None:
        """Commit positions with the producer's transaction, if and when that commits.

        Raises `CallFailed`: `PRODUCER_FENCED`, `UNKNOWN_MEMBER_ID`, `STALE_MEMBER_EPOCH`,
        `OFFSET_METADATA_TOO_LARGE`; all but the first leave the transaction to be aborted.
        """
        now_ms = self._now_ms()
        transaction = self._producers.open(producer, now_ms)
        self._fail(Fault.POSITIONS_REFUSED, Failure.TRANSACTION_ABORTABLE, "positions")
        require_small(positions)
        self._group(metadata.group).require_committer(metadata, positions)
        transaction.positions.setdefault(metadata.group, {}).update(positions)
        self._of(metadata.group).hold(producer.transactional_id, positions)

    def commit(self, producer: Producer) -> None:
        """All of the producer's transaction happens, at once.

        Raises `CallFailed`: `PRODUCER_FENCED`, and what planned faults say.
        """
        self._producers.require_current(producer)
        fault = next((one for one in COMMIT_FAULTS if self._faults.take(one)), None)
        if fault is Fault.COMMIT_REFUSED:
            raise CallFailed(Failure.TRANSACTION_ABORTABLE, "the commit was refused")
        if fault is Fault.COMMIT_DELAYED:
            self._faults.delayed.append(lambda: self._take_and_end(producer, commit=True))
        elif fault is not Fault.COMMIT_LOST:
            self._take_and_end(producer, commit=True)
        if fault is not None:
            raise CallFailed(Failure.NO_ANSWER, "the commit was not answered")

    def abort(self, producer: Producer) -> None:
        """Nothing of the producer's transaction happens. Raises `CallFailed` if it is fenced."""
        self._take_and_end(producer, commit=False)

    # --- groups ------------------------------------------------------------------------------

    def join(self, group: str, topics: Collection[str]) -> tuple[str, Heartbeat]:
        """Become a member of a group; the new member's id and what it may have at once."""
        self._members += 1
        member_id = f"{group}-member-{self._members}"
        return member_id, self.rejoin(group, member_id, topics)

    def rejoin(self, group: str, member_id: str, topics: Collection[str]) -> Heartbeat:
        """Come back, with nothing, after having been removed or fenced."""
        answer = self._group(group).join(member_id, topics, self._now_ms())
        self._changed()
        return answer

    def heartbeat(
        self, group: str, member_id: str, epoch: int, owned: Collection[Partition]
    ) -> Heartbeat:
        """Say what a member owns, hear what it should own.

        Raises `CallFailed`: `UNKNOWN_MEMBER_ID`, `FENCED_MEMBER_EPOCH`; it owns nothing then.
        """
        known = self._group(group)
        before = known.assignments()
        answer = known.heartbeat(member_id, epoch, owned, self._now_ms())
        if epoch != answer.epoch or known.assignments() != before:
            self._changed()
        return answer

    def leave(self, group: str, member_id: str) -> None:
        """Go, giving up all partitions; unknown members are gone already."""
        self._group(group).leave(member_id)
        self._changed()

    def group(self, name: str) -> Group:
        """A group's members and epochs, to look at; an empty one if nobody ever joined."""
        return self._group(name)

    def committed(
        self, group: str, sources: Iterable[Partition], *, stable: bool = True
    ) -> dict[Partition, CommittedPosition | None]:
        """Committed positions, None where there is none.

        Raises `CallFailed` (`UNSTABLE_OFFSET_COMMIT`) if `stable` and an open transaction holds
        one: ask again when it has ended (H5).
        """
        if stable:
            self._fail(Fault.COMMITTED_UNANSWERED, Failure.NO_ANSWER, f"positions of {group}")
        return self._of(group).committed(sources, stable=stable)

    def commit_positions(
        self, metadata: GroupMetadata, positions: Mapping[Partition, CommittedPosition]
    ) -> None:
        """Commit positions without a transaction.

        Raises `CallFailed`: `UNKNOWN_MEMBER_ID`, `STALE_MEMBER_EPOCH`,
        `OFFSET_METADATA_TOO_LARGE`.
        """
        self._fail(Fault.POSITIONS_REFUSED, Failure.NO_ANSWER, f"positions of {metadata.group}")
        require_small(positions)
        self._group(metadata.group).require_committer(metadata, positions)
        self._of(metadata.group).commit(positions)
        self._changed()

    # --- time --------------------------------------------------------------------------------

    def tick(self, now_ms: int | None = None) -> None:
        """Abort transactions and remove members that have timed out by now (default: the clock)."""
        now_ms = self._now_ms() if now_ms is None else now_ms
        expired = self._producers.take_expired(now_ms)
        for transactional_id, transaction in expired:
            self._end(transactional_id, transaction, commit=False)
        for group in self._groups.values():
            if group.expire(now_ms, self._session_timeout_ms):
                self._changed()

    # --- for tests and simulations -----------------------------------------------------------

    def watch(self, on_change: Callable[[], None]) -> Callable[[], None]:
        """Call this after every change of the log or of a group; returns how to stop that.

        It is called in the middle of somebody's call: note it, and act later.
        """
        self._watchers.append(on_change)
        return lambda: self._watchers.remove(on_change)

    def fail_next(self, fault: Fault, times: int = 1) -> None:
        """Let the next calls of a kind go wrong."""
        self._faults.plan(fault, times)

    def deliver_delayed(self) -> int:
        """Let all requests arrive that were delayed; how many there were.

        What is refused now (its producer was fenced meanwhile) is refused in silence.
        """
        delayed, self._faults.delayed = self._faults.delayed, []
        for request in delayed:
            try:
                request()
            except CallFailed:
                continue
        return len(delayed)

    def expire_member(self, group: str, member_id: str) -> None:
        """Remove a member as if it had been silent for too long."""
        self.leave(group, member_id)

    def rebalance(self, group: str) -> None:
        """Deal the group's partitions anew, by the log's seed."""
        self._group(group).shuffle(self._rng)
        self._changed()

    def abort_left_open(self, transactional_id: str) -> None:
        """End what a process that is known to be dead left open; fences whoever uses its id."""
        self._take_over(transactional_id, TIMEOUT_MS)

    # --- inside ------------------------------------------------------------------------------

    def _take_over(self, transactional_id: str, timeout_ms: int) -> Producer:
        producer, left_open = self._producers.init(transactional_id, timeout_ms)
        if left_open is not None:
            self._end(transactional_id, left_open, commit=False)
        return producer

    def _take_and_end(self, producer: Producer, *, commit: bool) -> None:
        transaction = self._producers.take(producer)
        if transaction is not None:
            self._end(producer.transactional_id, transaction, commit=commit)

    def _end(self, transactional_id: str, transaction: OpenTransaction, *, commit: bool) -> None:
        """Markers on every partition, then the positions: one step for whoever looks."""
        for source in transaction.partitions:
            self._log(source).mark(self._now_ms(), transactional_id, commit=commit)
        for group, positions in transaction.positions.items():
            self._of(group).let_go(transactional_id)
            if commit:
                self._of(group).commit(positions)
        self._changed()

    def _fail(self, fault: Fault, failure: Failure, what: str) -> None:
        if self._faults.take(fault):
            raise CallFailed(failure, f"{what}: a planned fault")

    def _log(self, source: Partition) -> PartitionLog:
        logs = self._topics.get(source.topic, ())
        if not 0 <= source.index < len(logs):
            raise CallFailed(
                Failure.UNKNOWN_TOPIC_OR_PARTITION,
                f"{source} does not exist; `provision` or `create_topic` makes topics",
            )
        return logs[source.index]

    def _group(self, name: str) -> Group:
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = Group(name, self.partitions)
        return group

    def _of(self, group: str) -> Positions:
        positions = self._positions.get(group)
        if positions is None:
            positions = self._positions[group] = Positions(group)
        return positions

    def _now_ms(self) -> int:
        return self.clock.now_us() // 1000

    def _changed(self) -> None:
        for watcher in tuple(self._watchers):
            watcher()
