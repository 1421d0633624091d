"""Generations: the copies of a read model's tables, which of them is read, how far each is.

    building   a rebuild fills it, beside the live one
    live       what is read, and what members of the group write; at most one per model
    retired    was live; its tables are about to be dropped

A rebuild ends in one transaction that makes the building generation live and retires the one
before; a member that still writes to that finds its position gone, and goes on in the new one. A
rebuild that died goes on with the generation that it was building.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from consumers.databases import Database
from consumers.following import Move
from consumers.read_models.model import ReadModel, Tables
from consumers.read_models.stored import (
    BUILDING,
    GENERATIONS,
    KEPT,
    LIVE,
    POSITIONS,
    RETIRED,
    copies_of,
)
from streams.cuts import Cut
from streams.errors import ConfigurationError, LogError
from streams.record import Partition

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Generation(NamedTuple):
    """One copy of a model's tables."""

    number: int
    """Unique in its database."""
    version: int
    """The model's, when it was begun."""
    status: str


class Generations:
    """The generations of one read model in one namespace of one database."""

    def __init__(self, database: Database, model: ReadModel, namespace: str) -> None:
        if not _NAME.fullmatch(model.name):
            raise ConfigurationError(
                f"a read model cannot be called {model.name!r}: 1 to 40 of a-z, 0-9 and _, "
                "a letter first"
            )
        self.database = database
        self.model = model
        self.namespace = namespace
        """Name of the namespace."""
        self._tables: dict[int, Tables] = {}
        database.provide(GENERATIONS, POSITIONS)

    def live(self, connection: sa.Connection) -> Generation:
        """What is read now.

        Raises `LogError` if there is none, or it is of another version of the model.
        """
        found = self._find(connection, LIVE)
        if found is None:
            raise LogError(
                f"read model {self.model.name} has no rows here yet; "
                f"`agentlog projections run {self.model.name}` keeps them"
            )
        if found.version != self.model.version:
            raise LogError(
                f"read model {self.model.name} is stored as version {found.version}, this program "
                f"has version {self.model.version}; `agentlog projections rebuild "
                f"{self.model.name}` makes that one beside it and then swaps them"
            )
        return found

    def ensure_live(self) -> Generation:
        """The live generation, begun if there is none. Raises `LogError` as `live` does."""
        with self.database.reading() as connection:
            if self._find(connection, LIVE) is not None:
                return self.live(connection)
        self._begin(LIVE)
        with self.database.reading() as connection:
            return self.live(connection)

    def ensure_building(self) -> Generation:
        """The generation that a rebuild fills: the one it had begun, else a new one."""
        with self.database.writing() as connection:
            found = self._find(connection, BUILDING)
            if found is not None and found.version != self.model.version:
                self._retire(connection, BUILDING)
                found = None
        if found is None:
            self._begin(BUILDING)
            with self.database.reading() as connection:
                found = self._find(connection, BUILDING)
        if found is None:
            raise LogError(f"another rebuild of {self.model.name} has just ended; start it again")
        return found

    def swap(self, building: Generation) -> bool:
        """Make it live, unless it is behind the live one somewhere: reads never go back.

        Raises `LogError` if it is not being built any more.
        """
        with self.database.writing() as connection:
            live = self._find(connection, LIVE)
            if live is not None:
                if self._is_behind(connection, building, live):
                    return False
                self._retire(connection, LIVE)
            done = connection.execute(
                sa.update(GENERATIONS)
                .where(GENERATIONS.c.generation == building.number, *self._are(BUILDING))
                .values(status=LIVE)
            )
            if done.rowcount != 1:
                raise LogError(
                    f"another rebuild of {self.model.name} has swapped meanwhile; nothing is lost"
                )
        return True

    def discard_building(self) -> None:
        """Give up what a rebuild had begun."""
        with self.database.writing() as connection:
            self._retire(connection, BUILDING)
        self.drop_retired()

    def drop_retired(self) -> int:
        """Drop the tables that nobody reads any more; returns how many generations that were."""
        with self.database.reading() as connection:
            query = sa.select(GENERATIONS.c.generation).where(*self._are(RETIRED))
            retired = list(connection.execute(query).scalars())
        for number in retired:
            with self.database.writing() as connection:
                for table in self.tables(number).values():
                    table.drop(connection, checkfirst=True)
                connection.execute(sa.delete(GENERATIONS).where(GENERATIONS.c.generation == number))
            self._tables.pop(number, None)
        return len(retired)

    def tables(self, number: int) -> Tables:
        """A generation's tables, by the model's names."""
        found = self._tables.get(number)
        if found is None:
            found = self._tables[number] = copies_of(self.model, number)
        return found

    def positions(self, connection: sa.Connection, generation: Generation) -> Cut | None:
        """How far a generation is; None before anything is stored."""
        rows = connection.execute(
            sa.select(POSITIONS).where(POSITIONS.c.generation == generation.number)
        ).all()
        if not rows:
            return None
        return Cut(
            cluster_id=rows[0].cluster_id,
            topic_ids={row.topic: row.topic_id for row in rows},
            ends={Partition(row.topic, row.partition): row.position for row in rows},
        )

    def stored(
        self, generation: Generation, log: Cut, source: Partition | None = None
    ) -> dict[Partition, int]:
        """How far it is on each partition that it has begun, or on one.

        Raises `LogError` if that is not of this log.
        """
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(POSITIONS).where(*_at(generation, source))).all()
        for row in rows:
            topic_id = log.topic_ids.get(row.topic, row.topic_id)
            if (row.cluster_id, row.topic_id) != (log.cluster_id, topic_id):
                raise LogError(
                    f"the rows of {self.model.name} are of another cluster than {row.topic}, or of "
                    "a topic that was deleted and made anew; `agentlog projections rebuild "
                    f"{self.model.name}` makes them of this one"
                )
        return {Partition(row.topic, row.partition): row.position for row in rows}

    def move(self, connection: sa.Connection, generation: Generation, move: Move, log: Cut) -> bool:
        """Set a position, if it stands where it was and the generation is still written.

        Raises `IntegrityError` if somebody else has set it first.
        """
        if move.was is None:
            kept = sa.select(GENERATIONS.c.generation).where(
                GENERATIONS.c.generation == generation.number, KEPT
            )
            # Held until this commits, so that no swap comes between; SQLite has one writer anyway.
            if connection.execute(kept.with_for_update(read=True)).first() is None:
                return False
            connection.execute(
                sa.insert(POSITIONS).values(
                    generation=generation.number,
                    topic=move.source.topic,
                    partition=move.source.index,
                    topic_id=log.topic_ids[move.source.topic],
                    cluster_id=log.cluster_id,
                    position=move.position,
                )
            )
            return True
        done = connection.execute(
            sa.update(POSITIONS)
            .where(*_at(generation, move.source), POSITIONS.c.position == move.was)
            .values(position=move.position)
        )
        return done.rowcount == 1

    def _begin(self, status: str) -> None:
        """A new generation with empty tables, unless somebody else has just begun one."""
        with suppress(IntegrityError), self.database.writing() as connection:
            made = connection.execute(
                sa.insert(GENERATIONS)
                .values(
                    namespace=self.namespace,
                    model=self.model.name,
                    version=self.model.version,
                    status=status,
                )
                .returning(GENERATIONS.c.generation)
            )
            for table in self.tables(made.scalar_one()).values():
                table.create(connection)

    def _retire(self, connection: sa.Connection, status: str) -> None:
        """Nobody may write to it any more: its positions go, its tables go later."""
        found = self._find(connection, status)
        if found is None:
            return
        connection.execute(
            sa.update(GENERATIONS)
            .where(GENERATIONS.c.generation == found.number)
            .values(status=RETIRED)
        )
        connection.execute(sa.delete(POSITIONS).where(POSITIONS.c.generation == found.number))

    def _is_behind(self, connection: sa.Connection, building: Generation, live: Generation) -> bool:
        # A member that is just writing to the live one is waited for, and finds it retired.
        held = sa.select(POSITIONS).where(POSITIONS.c.generation == live.number)
        connection.execute(held.with_for_update()).all()
        there, here = self.positions(connection, live), self.positions(connection, building)
        if there is None:
            return False
        if here is None:
            return True
        if (there.cluster_id, there.topic_ids) != (here.cluster_id, here.topic_ids):
            return False  # of another log: there is nothing to go back behind
        return any(here.ends.get(source, 0) < at for source, at in there)

    def _find(self, connection: sa.Connection, status: str) -> Generation | None:
        row = connection.execute(sa.select(GENERATIONS).where(*self._are(status))).first()
        return Generation(row.generation, row.version, row.status) if row is not None else None

    def _are(self, status: str) -> tuple[sa.ColumnElement[bool], ...]:
        columns = GENERATIONS.c
        return (
            columns.namespace == self.namespace,
            columns.model == self.model.name,
            columns.status == status,
        )


def live_models(database: Database, namespace: str) -> list[tuple[str, int]]:
    """Names and versions of the read models that have live rows in a namespace."""
    database.provide(GENERATIONS, POSITIONS)
    query = sa.select(GENERATIONS.c.model, GENERATIONS.c.version).where(
        GENERATIONS.c.namespace == namespace, GENERATIONS.c.status == LIVE
    )
    with database.reading() as connection:
        return sorted((row.model, row.version) for row in connection.execute(query))


def _at(generation: Generation, source: Partition | None) -> tuple[sa.ColumnElement[bool], ...]:
    columns = POSITIONS.c
    of_generation = columns.generation == generation.number
    if source is None:
        return (of_generation,)
    return of_generation, columns.topic == source.topic, columns.partition == source.index
