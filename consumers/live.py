"""Live projections: a group folds the log as it grows, and stores each partition's state.

How the group works, and what becomes of a member that is late or dies: `consumers.following`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import cbor2

from consumers.following import WAIT_POLL_S, Follower, Move, await_position, require_reads
from consumers.projections.partition_fold import PartitionFold, Tally
from consumers.projections.projection import Projection
from consumers.state_store import Change, Row, StateStore
from streams.cuts import Cut
from streams.errors import LogError
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import Namespace

S = TypeVar("S")


class StateKeeper(Generic[S]):
    """A `Keeper` of states: one row of the store for each partition, replaced as a whole."""

    is_full = False  # a state is as large as it is

    def __init__(self, projection: Projection[S], codec: Codec, store: StateStore) -> None:
        self.tally = Tally()
        """What went through the folds that are over."""
        self._projection = projection
        self._codec = codec
        self._store = store
        self._folds: dict[Partition, PartitionFold[S]] = {}

    def load(self, source: Partition, log: Cut) -> int | None:
        """Begin with the stored state."""
        self.forget(source)
        row = self._store.load(self._projection, source)
        if row is None:
            self._folds[source] = PartitionFold(self._projection, self._codec)
            return None
        if (row.cluster_id, row.topic_id) != (log.cluster_id, log.topic_ids[source.topic]):
            raise LogError(
                f"the stored state of {source} is of another cluster, or of a topic "
                "that was deleted and made anew; use another store or namespace"
            )
        state = cbor2.loads(row.state)
        self._folds[source] = PartitionFold(self._projection, self._codec, state=state)
        return row.position

    def fold(self, source: Partition, records: Sequence[Record]) -> None:
        """Fold a batch."""
        self._folds[source].add(records)

    def store(self, moves: Sequence[Move], log: Cut) -> bool:
        """States and positions, row by row."""
        changes = [Change(move.was, self._row(move, log)) for move in moves]
        return self._store.save(self._projection, changes)

    def forget(self, source: Partition) -> None:
        """Drop the fold; what went through it stays counted."""
        fold = self._folds.pop(source, None)
        if fold is not None:
            self.tally += fold.tally

    def _row(self, move: Move, log: Cut) -> Row:
        source = move.source
        return Row(
            source,
            log.topic_ids[source.topic],
            log.cluster_id,
            move.position,
            cbor2.dumps(self._folds[source].state),
        )


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
        self.keeper = StateKeeper(projection, codec, store)
        self.follower = Follower(
            self.keeper,
            name=f"projection {projection.name}",
            group=namespace.group(f"projection-{projection.name}-{projection.version}"),
            topics=namespace.topics(projection.topics),
            bootstrap_servers=bootstrap_servers,
        )

    @property
    def group(self) -> str:
        """Its group's full name."""
        return self.follower.group

    @property
    def fenced(self) -> int:
        """Flushes that another member's progress refused."""
        return self.follower.fenced

    @property
    def tally(self) -> Tally:
        """What went through its folds, once it has ended."""
        return self.keeper.tally

    def run(self, stop: threading.Event) -> None:
        """Fold until `stop` is set; then flush and leave the group.

        Raises `LogError` if stored positions are not of this log, `BrokerError` if Kafka or the
        database gives up for good.
        """
        self.follower.run(stop)


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
        time.sleep(WAIT_POLL_S)


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
    name = f"projection {projection.name}"
    require_reads(projection.topics, source, name)
    await_position(
        lambda: _position(store, projection, source), position, timeout_s, name=name, source=source
    )


def _position(store: StateStore, projection: Projection[Any], source: Partition) -> int:
    row = store.load(projection, source)
    return row.position if row is not None else 0
