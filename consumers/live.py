"""Live projections: a group shares the partitions, each member folds its own and stores them.

The group is for assignment only; it commits nothing. Positions live in the state store, in the
same transaction as the states. A partition's way through a member:

    assigned   load its row; read on from the row's position
    folded     state in memory, ahead of the row
    flushed    row := (state, position), if the row has not moved; every `FLUSH_S` seconds, or as
               seldom as keeps it below `FLUSH_SHARE_MAX` of the time (a flush writes whole states),
               but every `FLUSH_S_MAX` seconds in any case
    fenced     the row has moved (another member took over): forget, load it again
    revoked    flush, forget

A member that dies loses only what was not flushed; the next owner folds that again from the log.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import cbor2
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from consumers.projections.partition_fold import PartitionFold, Tally
from consumers.projections.projection import Projection
from consumers.state_store import Change, Row, StateStore
from streams.cuts import Cut
from streams.errors import BrokerError, ConfigurationError, LogError
from streams.kafka.batches import record_of
from streams.kafka.configs import SILENT
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import Namespace

S = TypeVar("S")

FLUSH_S: Final = 0.25
FLUSH_S_MAX: Final = 10.0
"""Seconds that a folded record waits before its state is stored, if flushing is quick; at most."""
FLUSH_SHARE_MAX: Final = 0.2
"""Share of its time that a member spends on flushing."""
BATCH_RECORDS_MAX: Final = 2_000
QUEUED_KBYTES_MAX: Final = 16_384
"""Fetched ahead of the fold, in KiB."""

_POLL_S: Final = 0.1
_WAIT_POLL_S: Final = 0.02
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


class _Share(Generic[S]):
    """One assigned partition: the row as it stands, the fold as it has gone on."""

    def __init__(self, fold: PartitionFold[S], stored: int | None) -> None:
        self.fold = fold
        self.stored = stored
        self.position = stored or 0


class ProjectionRunner(Generic[S]):
    """One member of a live projection's group. `run` is for one thread."""

    def __init__(
        self,
        projection: Projection[S],
        *,
        bootstrap_servers: str,
        namespace: Namespace,
        codec: Codec,
        store: StateStore,
    ) -> None:
        self.projection = projection
        self.topics = namespace.topics(projection.topics)
        self.group = namespace.group(f"projection-{projection.name}-{projection.version}")
        self.fenced = 0
        """Flushes that another member's progress refused."""
        self.tally = Tally()
        self._bootstrap_servers = bootstrap_servers
        self._codec = codec
        self._store = store
        self._shares: dict[Partition, _Share[S]] = {}
        self._flush_at: float | None = None
        """When to store what has moved (monotonic); None while nothing has."""
        self._flush_took_s = 0.0

    def run(self, stop: threading.Event) -> None:
        """Fold until `stop` is set; then flush and leave the group.

        Raises `LogError` if stored positions are not of this log, `BrokerError` if Kafka or the
        database gives up for good.
        """
        with KafkaLogReader(self._bootstrap_servers) as reader:
            self._log = reader.ends(self.topics)
        consumer = Consumer(
            {
                **_CONSUMER,
                "bootstrap.servers": self._bootstrap_servers,
                "group.id": self.group,
            },
            logger=SILENT,
        )
        self._consumer = consumer
        try:
            consumer.subscribe(
                list(self.topics),
                on_assign=self._on_assign,
                on_revoke=self._on_revoke,
                on_lost=self._on_lost,
            )
            while not stop.is_set():
                self._step()
            self._flush()
        except KafkaException as error:
            raise BrokerError(f"projection {self.projection.name}: {error}") from error
        finally:
            self._shares.clear()
            consumer.close()

    def _step(self) -> None:
        """Fold what there is, note how far that is, flush if it is time."""
        records: dict[Partition, list[Record]] = {}
        ends: list[tuple[Partition, int]] = []
        for message in self._consumer.consume(BATCH_RECORDS_MAX, _POLL_S):
            error = message.error()
            if error is None:
                record = record_of(message)
                records.setdefault(record.source, []).append(record)
            elif error.code() == _END:
                where = Partition(message.topic() or "", message.partition() or 0)
                ends.append((where, message.offset() or 0))
            elif error.code() not in _PASSING:
                raise BrokerError(f"projection {self.projection.name}: {error.str()}")
        for source, found in records.items():
            self._fold(source, found)
        for source, end in ends:  # after the records that came with them: an end passes those
            self._pass(source, end)
        if self._flush_at is not None and time.monotonic() >= self._flush_at:
            began = time.monotonic()
            self._flush()
            self._flush_took_s = time.monotonic() - began

    def _fold(self, source: Partition, records: list[Record]) -> None:
        share = self._shares.get(source)
        if share is None:  # fetched under an assignment that is over
            return
        share.fold.add([record for record in records if record.position >= share.position])
        self._pass(source, records[-1].position + 1)

    def _pass(self, source: Partition, position: int) -> None:
        share = self._shares.get(source)
        if share is not None and position > share.position:
            share.position = position
            if self._flush_at is None:
                wait_s = max(FLUSH_S, self._flush_took_s * (1 / FLUSH_SHARE_MAX - 1))
                self._flush_at = time.monotonic() + min(wait_s, FLUSH_S_MAX)

    def _flush(self, sources: Iterable[Partition] | None = None) -> None:
        """Store what moved, all in one transaction; reload it if another member was faster."""
        moved = {
            source: share
            for source, share in self._shares.items()
            if share.position != (share.stored or 0) and (sources is None or source in sources)
        }
        if sources is None:
            self._flush_at = None
        if not moved:
            return
        changes = [
            Change(share.stored, self._row(source, share)) for source, share in moved.items()
        ]
        if self._store.save(self.projection, changes):
            for share in moved.values():
                share.stored = share.position
            return
        self.fenced += 1
        if sources is None:  # what is being revoked is forgotten anyway
            for source in moved:
                share = self._shares[source] = self._load(source)
                self._consumer.seek(_place(source, share))

    def _row(self, source: Partition, share: _Share[S]) -> Row:
        return Row(
            source,
            self._log.topic_ids[source.topic],
            self._log.cluster_id,
            share.position,
            cbor2.dumps(share.fold.state),
        )

    def _load(self, source: Partition) -> _Share[S]:
        row = self._store.load(self.projection, source)
        if row is None:
            return _Share(PartitionFold(self.projection, self._codec), None)
        if (row.cluster_id, row.topic_id) != (
            self._log.cluster_id,
            self._log.topic_ids[source.topic],
        ):
            raise LogError(
                f"the stored state of {source} is of another cluster, or of a topic "
                "that was deleted and made anew; use another store or namespace"
            )
        fold = PartitionFold(self.projection, self._codec, state=cbor2.loads(row.state))
        return _Share(fold, row.position)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        places = []
        for assigned in partitions:
            source = Partition(assigned.topic, assigned.partition)
            share = self._shares[source] = self._load(source)
            places.append(_place(source, share))
        consumer.incremental_assign(places)

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        revoked = [Partition(it.topic, it.partition) for it in partitions]
        self._flush(revoked)
        self._forget(revoked)
        consumer.incremental_unassign(partitions)

    def _on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self._forget(Partition(it.topic, it.partition) for it in partitions)
        consumer.incremental_unassign(partitions)

    def _forget(self, sources: Iterable[Partition]) -> None:
        for source in sources:
            share = self._shares.pop(source, None)
            if share is not None:
                self.tally += share.fold.tally


def _place(source: Partition, share: _Share[Any]) -> TopicPartition:
    start = OFFSET_BEGINNING if share.stored is None else share.position
    return TopicPartition(source.topic, source.index, start)


def is_caught_up(store: StateStore, projection: Projection[Any], cut: Cut) -> bool:
    """Whether the stored states hold everything below the cut (on its topics)."""
    if not cut.topic_ids:
        return True
    positions = {
        row.source: row.position for topic in cut.topic_ids for row in store.rows(projection, topic)
    }
    return all(positions.get(source, 0) >= end for source, end in cut)


def wait_for(store: StateStore, projection: Projection[Any], cut: Cut, timeout_s: float) -> None:
    """Return when the stored states hold everything below the cut.

    Raises `LogError` that names a partition which is behind after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    while not is_caught_up(store, projection, cut):
        if time.monotonic() >= deadline:
            rows = {
                row.source: row.position
                for topic in cut.topic_ids
                for row in store.rows(projection, topic)
            }
            source, end = next((s, e) for s, e in cut if rows.get(s, 0) < e)
            raise LogError(
                f"projection {projection.name} is at {rows.get(source, 0)} of {end} on {source} "
                f"after {timeout_s:g} s; is `agentlog projections run` running?"
            )
        time.sleep(_WAIT_POLL_S)


def wait_for_position(
    store: StateStore,
    projection: Projection[Any],
    source: Partition,
    position: int,
    timeout_s: float,
) -> None:
    """Return when the stored state has what is at `position`: read your own writes.

    A command's answer has both (`streams.commands.Commanded`). Raises `LogError` after `timeout_s`
    seconds, and `ConfigurationError` for a topic that the projection does not read.
    """
    if not any(source.topic.endswith(f".{name}") for name in projection.topics):
        raise ConfigurationError(
            f"projection {projection.name} does not read {source.topic}; it reads "
            f"{', '.join(projection.topics)}"
        )
    deadline = time.monotonic() + timeout_s
    while (at := _position(store, projection, source)) <= position:
        if time.monotonic() >= deadline:
            raise LogError(
                f"projection {projection.name} is at {at} on {source}, {position} is not in it "
                f"after {timeout_s:g} s; is `agentlog projections run` running?"
            )
        time.sleep(_WAIT_POLL_S)


def _position(store: StateStore, projection: Projection[Any], source: Partition) -> int:
    row = store.load(projection, source)
    return row.position if row is not None else 0
