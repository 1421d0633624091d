"""The index as a read model: rows from keys to positions, and from positions to outcomes.

`entries` has one small row for each key of each record. `outcomes` has one for each run of
positions that a group finished in one commit in one way, as the journal says: when, how long they
had waited, and where the journal says it. The journal has waiting times as a histogram per commit:
the row has its least and its most, which are one number where one record was finished.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa

from consumers.index import keys
from consumers.index.keys import TOPIC_NUMBERS, keys_of
from consumers.journal import OUTCOMES_RECORDED, Outcome
from consumers.journal.histogram import bucket_bounds
from consumers.journal.runs import decode_runs
from consumers.read_models import Entry, Tables
from streams.errors import DecodeError
from streams.record import Record
from streams.topics import JOURNAL

OUTCOME_NUMBERS: Final = {
    Outcome.HANDLED: 1,
    Outcome.EXPIRED: 2,
    Outcome.DEAD_LETTERED: 3,
    Outcome.SKIPPED: 4,
}
"""Stored. An outcome of a newer writer is 0."""
OUTCOMES: Final = {number: str(outcome) for outcome, number in OUTCOME_NUMBERS.items()}

_METADATA: Final = sa.MetaData()


def _number(name: str, kind: type[sa.Integer] = sa.Integer) -> sa.Column[int]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


sa.Table(
    "entries",
    _METADATA,
    _number("kind", sa.SmallInteger),
    _number("hash", sa.BigInteger),
    _number("topic", sa.SmallInteger),
    _number("partition"),
    _number("position", sa.BigInteger),
    sqlite_with_rowid=False,
)
sa.Table(
    "groups",
    _METADATA,
    _number("number"),
    sa.Column("name", sa.String(255), nullable=False, unique=True),
)
sa.Table(
    "outcomes",
    _METADATA,
    _number("topic", sa.SmallInteger),
    _number("partition"),
    _number("group_number"),
    _number("last", sa.BigInteger),
    _number("first", sa.BigInteger),
    _number("journal_partition"),
    _number("journal_position", sa.BigInteger),
    sa.Column("outcome", sa.SmallInteger, nullable=False),
    sa.Column("settled_at_ms", sa.BigInteger, nullable=False),
    sa.Column("waited_ms_min", sa.BigInteger),
    sa.Column("waited_ms_max", sa.BigInteger),
    sqlite_with_rowid=False,
)


class LogIndex:
    """The read model `index`."""

    name: Final = "index"
    version: Final = 1
    topics: Final = (*TOPIC_NUMBERS, JOURNAL)
    tables: Final = _METADATA

    def apply(self, connection: sa.Connection, tables: Tables, entries: Sequence[Entry]) -> None:
        """The rows of some records of one partition."""
        logical = _logical(entries[0].record)
        if logical == JOURNAL:
            self._apply_journal(connection, tables, entries)
            return
        topic, key_hash, rows = TOPIC_NUMBERS[logical], keys.key_hash, set()
        for record, envelope in entries:
            for kind, text in keys_of(record, logical, envelope):
                hashed = key_hash(text)
                rows.add((kind.value, hashed, topic, record.partition, record.position))
        _insert(connection, tables["entries"], sorted(rows))  # in order: pages are touched once

    def content(self, tables: Tables) -> Mapping[str, sa.Select[Any]]:
        """Groups by their names: their numbers are as they came."""
        entries, groups, outcomes = (tables[name] for name in ("entries", "groups", "outcomes"))
        plain = [column for column in outcomes.c if column.name != "group_number"]
        return {
            "entries": sa.select(entries),
            "outcomes": sa.select(groups.c.name, *plain).join_from(
                outcomes, groups, outcomes.c.group_number == groups.c.number
            ),
        }

    def _apply_journal(
        self, connection: sa.Connection, tables: Tables, entries: Sequence[Entry]
    ) -> None:
        numbers = _group_numbers(connection, tables["groups"])
        rows: set[tuple[int | None, ...]] = set()
        for record, envelope in entries:
            if envelope.type != OUTCOMES_RECORDED:
                continue
            try:
                payload = envelope.payload
                topic = TOPIC_NUMBERS.get(payload["topic"].partition(".")[2])
                runs = list(_runs(payload)) if topic is not None else []
            except (DecodeError, ValueError):
                continue  # the audit tells of books that cannot be read
            if topic is None:
                continue
            group = payload["group"]
            if group not in numbers:
                numbers[group] = len(numbers) + 1
                _insert(connection, tables["groups"], [(numbers[group], group)])
            place = record.partition, record.position
            waited = _waited(payload)
            for outcome, first, last in runs:
                at = topic, payload["partition"], numbers[group], last, first
                rows.add((*at, *place, outcome, record.appended_at_ms, *waited))
        _insert(connection, tables["outcomes"], list(rows))


def _logical(record: Record) -> str:
    """The topic's name without the namespace, which has no dot in it."""
    return record.topic.partition(".")[2]


def _runs(payload: Mapping[str, Any]) -> list[tuple[int, int, int]]:
    return [
        (OUTCOME_NUMBERS.get(finished["outcome"], 0), run.start, run.stop - 1)
        for finished in payload["finished"]
        for run in decode_runs(finished["runs"])
    ]


def _waited(payload: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """The least and the most that the records of one commit waited, in ms; None: nobody counted."""
    buckets = payload["delivery_buckets"]
    if not buckets:
        return None, None
    if sum(one["count"] for one in buckets) == 1:
        return payload["delivery_ms_sum"], payload["delivery_ms_sum"]
    indices = [one["index"] for one in buckets]
    return bucket_bounds(min(indices))[0], bucket_bounds(max(indices))[1]


def _group_numbers(connection: sa.Connection, groups: sa.Table) -> dict[str, int]:
    found = connection.execute(sa.select(groups.c.name, groups.c.number))
    return {row.name: row.number for row in found}


def _insert(connection: sa.Connection, table: sa.Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Many rows by the driver itself: SQLAlchemy would look at each of them."""
    if not rows:
        return
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    names = ", ".join(connection.dialect.identifier_preparer.quote(c.name) for c in table.columns)
    marks = ", ".join([mark] * len(table.columns))
    name = connection.dialect.identifier_preparer.format_table(table)
    connection.exec_driver_sql(f"INSERT INTO {name} ({names}) VALUES ({marks})", list(rows))  # noqa: S608  # our own names
