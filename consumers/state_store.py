"""Where live projections keep their states: a row per partition, with the position it stands at.

State and position change in one database transaction, by compare-and-set on the old position. So
a row is always the fold of exactly the records below its position, and whoever works on a
partition that another has taken over (a zombie) changes no row: it is fenced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import cbor2
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from consumers.databases import Database
from consumers.projections.projection import Projection
from streams.cuts import Cut
from streams.errors import LogError
from streams.record import Partition

S = TypeVar("S")


class Row(NamedTuple):
    """One partition's share of a projection."""

    source: Partition
    topic_id: str
    cluster_id: str
    position: int
    """Every record below it is folded, and none at or above it."""
    state: bytes
    """CBOR."""


class Stored(NamedTuple):
    """A projection that has rows, by the names that they are stored under."""

    name: str
    version: int


class Change(NamedTuple):
    """A row's next content, if it still stands at `was` (None: if there is no row yet)."""

    was: int | None
    row: Row


class StateStore(Protocol):
    """States and positions by (projection, version, topic, partition)."""

    def load(self, projection: Projection[Any], source: Partition) -> Row | None:
        """The row of one partition."""
        ...

    def save(self, projection: Projection[Any], changes: Sequence[Change]) -> bool:
        """Make all changes in one transaction, or, if any row has moved, none: then False."""
        ...

    def rows(self, projection: Projection[Any], prefix: str) -> Sequence[Row]:
        """All rows of topics whose full name begins so, as of one moment."""
        ...


_METADATA: Final = sa.MetaData()
_STATES: Final = sa.Table(
    "projection_states",
    _METADATA,
    sa.Column("projection", sa.String(200), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("topic", sa.String(249), primary_key=True),
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("topic_id", sa.String(64), nullable=False),
    sa.Column("cluster_id", sa.String(64), nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("state", sa.LargeBinary, nullable=False),
)


class SqlStateStore:
    """A `StateStore` in a database, as in `sqlite:///states.db`. Thread-safe.

    Raises `BrokerError` where the database cannot be reached.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self._database.provide(_STATES)

    def load(self, projection: Projection[Any], source: Partition) -> Row | None:
        """The row of one partition."""
        found = self._select(
            projection, _STATES.c.topic == source.topic, _STATES.c.partition == source.index
        )
        return found[0] if found else None

    def rows(self, projection: Projection[Any], prefix: str) -> Sequence[Row]:
        """All rows of topics whose full name begins so, by one statement."""
        return self._select(projection, _STATES.c.topic.startswith(prefix, autoescape=True))

    def save(self, projection: Projection[Any], changes: Sequence[Change]) -> bool:
        """Make all changes in one transaction, or none."""
        try:
            with self._database.writing() as connection:
                if not all(_changed(connection, projection, change) for change in changes):
                    raise _Moved
        except (IntegrityError, _Moved):  # someone else wrote the row first
            return False
        return True

    def stored(self, prefix: str) -> Sequence[Stored]:
        """The projections that have rows of topics whose full name begins so, by name."""
        columns = _STATES.c.projection, _STATES.c.version
        query = (
            sa.select(*columns)
            .where(_STATES.c.topic.startswith(prefix, autoescape=True))
            .distinct()
            .order_by(*columns)
        )
        with self._database.reading() as connection:
            return [Stored(it.projection, it.version) for it in connection.execute(query)]

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _select(self, projection: Projection[Any], *where: Any) -> list[Row]:
        query = sa.select(_STATES).where(*_of(projection), *where)
        with self._database.reading() as connection:
            return [
                Row(
                    Partition(it.topic, it.partition),
                    it.topic_id,
                    it.cluster_id,
                    it.position,
                    it.state,
                )
                for it in connection.execute(query)
            ]


class _Moved(Exception):
    """A row is not where it was: nothing of the transaction may stay."""


def _of(projection: Projection[Any]) -> tuple[Any, ...]:
    return _STATES.c.projection == projection.name, _STATES.c.version == projection.version


def _changed(connection: sa.Connection, projection: Projection[Any], change: Change) -> bool:
    row = change.row
    values = {
        "position": row.position,
        "state": row.state,
        "topic_id": row.topic_id,
        "cluster_id": row.cluster_id,
    }
    if change.was is None:
        connection.execute(
            sa.insert(_STATES).values(
                projection=projection.name,
                version=projection.version,
                topic=row.source.topic,
                partition=row.source.index,
                **values,
            )
        )
        return True
    done = connection.execute(
        sa.update(_STATES)
        .where(
            *_of(projection),
            _STATES.c.topic == row.source.topic,
            _STATES.c.partition == row.source.index,
            _STATES.c.position == change.was,
        )
        .values(**values)
    )
    return done.rowcount == 1


class LiveState(NamedTuple, Generic[S]):
    """What a live projection knows, and the cut that it knows it at."""

    state: S
    cut: Cut
    rows: Sequence[Row] = ()
    """What it was merged from: each partition's own state."""


def live_snapshot(
    store: StateStore, projection: Projection[S], topics: Sequence[str]
) -> LiveState[S]:
    """The merged state over these topics (full names) and its cut, of one moment of the store.

    Raises `LogError` if nothing was stored yet, or rows of two clusters or of a topic made anew
    are mixed.
    """
    prefix = _common_prefix(topics)
    rows = [row for row in store.rows(projection, prefix) if row.source.topic in set(topics)]
    if not rows:
        raise LogError(
            f"no state of projection {projection.name} is stored yet; "
            f"`agentlog projections run {projection.name}` keeps one"
        )
    clusters = {row.cluster_id for row in rows}
    topic_ids: Mapping[str, str] = {row.source.topic: row.topic_id for row in rows}
    if len(clusters) > 1 or any(topic_ids[row.source.topic] != row.topic_id for row in rows):
        raise LogError(
            f"states of projection {projection.name} are of different logs; use another "
            "store, or another namespace"
        )
    state = projection.initial()
    for row in rows:
        state = projection.merge(state, cbor2.loads(row.state))
    return LiveState(
        state,
        Cut(
            cluster_id=clusters.pop(),
            topic_ids=topic_ids,
            ends={row.source: row.position for row in rows},
        ),
        rows,
    )


def _common_prefix(topics: Sequence[str]) -> str:
    first, last = min(topics), max(topics)
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return first[:same]
