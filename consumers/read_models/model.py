"""What a read model is: a projection whose result is rows of tables, for whoever wants to query it.

    class Senders:
        name, version, topics = "senders", 1, ("inbox",)
        tables = sa.MetaData()
        counts = sa.Table("counts", tables, sa.Column("sender", sa.String, primary_key=True), …)

        def apply(self, connection, tables, entries):
            for record, envelope in entries:
                connection.execute(sa.insert(tables["counts"])…)

`apply` sees the records of one partition in order. Rows and position commit together, so each
record is in the rows exactly once. Partitions are applied in any order, so rows that several of
them touch must come out the same either way, as with a projection's `merge`. No clock, no
randomness: rebuilt rows are the rows that were there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import sqlalchemy as sa

from streams.envelope import Envelope
from streams.record import Record


class Entry(NamedTuple):
    """A record that could be decoded."""

    record: Record
    envelope: Envelope


Tables = Mapping[str, sa.Table]
"""One generation's tables, by the names that the model gives them."""


@runtime_checkable
class ReadModel(Protocol):
    """A fold of the log into tables."""

    @property
    def name(self) -> str:
        """Short and stable (a-z, 0-9, _): tables, positions and the group are named after it."""
        ...

    @property
    def version(self) -> int:
        """Raise it when tables or `apply` change: then rows of another version are rebuilt."""
        ...

    @property
    def topics(self) -> tuple[str, ...]:
        """Logical names of the topics it reads."""
        ...

    @property
    def tables(self) -> sa.MetaData:
        """Its tables. Each generation has a copy of its own, under names with a suffix; foreign
        keys between them are not copied.
        """
        ...

    def apply(self, connection: sa.Connection, tables: Tables, entries: Sequence[Entry]) -> None:
        """Write what some records of one partition, in order, change in the tables.

        Inside a transaction, which is not `apply`'s to end.
        """
        ...
