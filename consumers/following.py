"""Following the log as a group: members share the partitions, each keeps what it makes of its own.

The group is for assignment only; it commits nothing. Positions live in the database of whoever
follows (its `Keeper`), in the same transaction as what was made of the records. A partition's way
through a member:

    assigned   load its stored position; read on from there
    folded     taken in by the keeper, ahead of what is stored
    stored     what was made of it and its new position, if the old one has not moved; every
               `FLUSH_S` seconds, or as seldom as keeps it below `FLUSH_SHARE_MAX` of the time (a
               flush may write whole states), but every `FLUSH_S_MAX` seconds in any case, and as
               soon as the keeper is full
    fenced     the position has moved (another member took over): forget, load it again
    revoked    store, forget

A member that dies loses only what was not stored; the next owner folds that again from the log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from streams.cuts import Cut
from streams.errors import BrokerError, ConfigurationError, LogError
from streams.kafka.batches import record_of
from streams.kafka.membership import Membership
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition, Record

FLUSH_S: Final = 0.25
FLUSH_S_MAX: Final = 10.0
"""Seconds that a folded record waits before it is stored, if flushing is quick; at most."""
FLUSH_SHARE_MAX: Final = 0.2
"""Share of its time that a member spends on flushing."""
BATCH_RECORDS_MAX: Final = 2_000
QUEUED_KBYTES_MAX: Final = 16_384
"""Fetched ahead of the fold, in KiB."""

WAIT_POLL_S: Final = 0.02
"""How often whoever waits for a position looks, in seconds."""

_POLL_S: Final = 0.1
_END: Final = KafkaError._PARTITION_EOF  # noqa: SLF001  # the client's spelling
_PASSING: Final = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
_CONSUMER: Final[Mapping[str, Any]] = {
    "group.protocol": "consumer",  # KIP-848
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,  # carries the position past markers and aborted tails
    "queued.max.messages.kbytes": QUEUED_KBYTES_MAX,
    "fetch.wait.max.ms": 100,
}


class Move(NamedTuple):
    """A partition's position, and what it was when it was loaded or stored last."""

    source: Partition
    was: int | None
    """None: nothing is stored yet."""
    position: int
    """Every record below it is in, and none at or above it."""


class Keeper(Protocol):
    """Takes in the records of partitions, and stores what it makes of them with their positions."""

    @property
    def is_full(self) -> bool:
        """Whether it should store what it holds before it takes in more."""
        ...

    def load(self, source: Partition, log: Cut) -> int | None:
        """Begin a partition anew from what is stored, and return its position.

        Raises `LogError` if that is of another log.
        """
        ...

    def fold(self, source: Partition, records: Sequence[Record]) -> None:
        """Take in records of a partition that was loaded, in order."""
        ...

    def store(self, moves: Sequence[Move], log: Cut) -> bool:
        """Store all in one transaction, or, if any position is not where it was, nothing: False."""
        ...

    def forget(self, source: Partition) -> None:
        """Drop what is held of a partition."""
        ...


class _Place:
    """One assigned partition: the position that is stored, and how far the fold has gone on."""

    def __init__(self, stored: int | None) -> None:
        self.stored = stored
        self.position = stored or 0


class Follower:
    """One member of a group that follows topics (full names). `run` is for one thread."""

    def __init__(
        self,
        keeper: Keeper,
        *,
        name: str,
        group: str,
        topics: Sequence[str],
        bootstrap_servers: str,
    ) -> None:
        self.name = name
        """What errors call it, as in `projection metrics`."""
        self.group = group
        """Full name."""
        self.topics = tuple(topics)
        self.fenced = 0
        """Flushes that another member's progress refused."""
        self._keeper = keeper
        self._bootstrap_servers = bootstrap_servers
        self._places: dict[Partition, _Place] = {}
        self._flush_at: float | None = None
        """When to store what has moved (monotonic); None while nothing has."""
        self._flush_took_s = 0.0

    def run(self, stop: threading.Event) -> None:
        """Follow until `stop` is set; then flush and leave the group.

        Raises `LogError` if stored positions are not of this log, `BrokerError` if Kafka or the
        database gives up for good.
        """
        with KafkaLogReader(self._bootstrap_servers) as reader:
            self._log = reader.ends(self.topics)
        self._membership = Membership(
            self._bootstrap_servers, self.group, queue_bytes=QUEUED_KBYTES_MAX * 1024
        )
        consumer = Consumer(
            {
                **_CONSUMER,
                "bootstrap.servers": self._bootstrap_servers,
                "group.id": self.group,
            },
            logger=self._membership,
        )
        self._consumer = consumer
        try:
            self._join()
            while not stop.is_set():
                self._take_in(self._fetch())
            self._flush()
        except KafkaException as error:
            raise BrokerError(f"{self.name}: {error}") from error
        finally:
            self._forget(list(self._places))
            consumer.close()
            self._membership.close()

    def _join(self) -> None:
        self._consumer.subscribe(
            list(self.topics),
            on_assign=self._on_assign,
            on_revoke=self._on_revoke,
            on_lost=self._on_lost,
        )

    def _fetch(self) -> list[Message]:
        """What the client has; waits for it a little."""
        if self._membership.is_out_of_step(self._consumer, self._places.keys()):
            self._consumer.unsubscribe()
            self._join()
        messages = self._consumer.consume(BATCH_RECORDS_MAX, _POLL_S)
        if messages:
            self._membership.took(sum(len(message.value() or b"") for message in messages))
        else:
            self._membership.drained()
        return messages

    def _take_in(self, messages: Sequence[Message]) -> None:
        """Fold what there is, note how far that is, flush if it is time."""
        records: dict[Partition, list[Record]] = {}
        ends: list[tuple[Partition, int]] = []
        for message in messages:
            error = message.error()
            if error is None:
                record = record_of(message)
                records.setdefault(record.source, []).append(record)
            elif error.code() == _END:
                where = Partition(message.topic() or "", message.partition() or 0)
                ends.append((where, message.offset() or 0))
            elif error.code() not in _PASSING:
                raise BrokerError(f"{self.name}: {error.str()}")
        for source, found in records.items():
            self._fold(source, found)
        for source, end in ends:  # after the records that came with them: an end passes those
            self._pass(source, end)
        due = self._flush_at is not None and time.monotonic() >= self._flush_at
        if due or self._keeper.is_full:
            began = time.monotonic()
            self._flush()
            self._flush_took_s = time.monotonic() - began

    def _fold(self, source: Partition, records: list[Record]) -> None:
        place = self._places.get(source)
        if place is None:  # fetched under an assignment that is over
            return
        self._keeper.fold(source, [one for one in records if one.position >= place.position])
        self._pass(source, records[-1].position + 1)

    def _pass(self, source: Partition, position: int) -> None:
        place = self._places.get(source)
        if place is not None and position > place.position:
            place.position = position
            if self._flush_at is None:
                wait_s = max(FLUSH_S, self._flush_took_s * (1 / FLUSH_SHARE_MAX - 1))
                self._flush_at = time.monotonic() + min(wait_s, FLUSH_S_MAX)

    def _flush(self, sources: Iterable[Partition] | None = None) -> None:
        """Store what moved, all in one transaction; reload it if another member was faster."""
        moved = {
            source: place
            for source, place in self._places.items()
            if place.position != (place.stored or 0) and (sources is None or source in sources)
        }
        if sources is None:
            self._flush_at = None
        if not moved:
            return
        moves = [Move(source, it.stored, it.position) for source, it in moved.items()]
        if self._keeper.store(moves, self._log):
            for place in moved.values():
                place.stored = place.position
            return
        self.fenced += 1
        if sources is None:  # what is being revoked is forgotten anyway
            for source in moved:
                place = self._places[source] = self._load(source)
                self._consumer.seek(_start(source, place))

    def _load(self, source: Partition) -> _Place:
        return _Place(self._keeper.load(source, self._log))

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        starts = []
        for assigned in partitions:
            source = Partition(assigned.topic, assigned.partition)
            place = self._places[source] = self._load(source)
            starts.append(_start(source, place))
        consumer.incremental_assign(starts)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        revoked = [Partition(it.topic, it.partition) for it in partitions]
        self._flush(revoked)
        self._forget(revoked)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget([Partition(it.topic, it.partition) for it in partitions])
        consumer.incremental_unassign(partitions)

    def _forget(self, sources: Sequence[Partition]) -> None:
        for source in sources:
            if self._places.pop(source, None) is not None:
                self._keeper.forget(source)


def await_position(
    at: Callable[[], int], position: int, timeout_s: float, *, name: str, source: Partition
) -> None:
    """Return once what is stored of a partition, as `at` tells, has what is at `position`.

    `name` is what is waited for, as in `projection metrics`. Raises `LogError` after `timeout_s`
    seconds.
    """
    deadline = time.monotonic() + timeout_s
    while (now := at()) <= position:
        if time.monotonic() >= deadline:
            raise LogError(
                f"{name} is at {now} on {source}, {position} is not in it after {timeout_s:g} s; "
                "is `agentlog projections run` running?"
            )
        time.sleep(WAIT_POLL_S)


def require_reads(topics: Sequence[str], source: Partition, name: str) -> None:
    """Raise `ConfigurationError` unless one of these topics (logical names) is the partition's."""
    if not any(source.topic.endswith(f".{topic}") for topic in topics):
        raise ConfigurationError(
            f"{name} does not read {source.topic}; it reads {', '.join(topics)}"
        )


def _start(source: Partition, place: _Place) -> TopicPartition:
    start = OFFSET_BEGINNING if place.stored is None else place.position
    return TopicPartition(source.topic, source.index, start)
