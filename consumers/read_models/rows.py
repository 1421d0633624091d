"""Rows kept by a group as the log grows.

Records are held in memory; what they change is written, with the positions, in one transaction. Who
finds a position moved writes nothing, and goes on from there: several may work on a generation at
the same time, members of the group and others that catch up (`consumers.read_models.catching_up`).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from consumers.following import Follower, Move
from consumers.projections.partition_fold import Tally
from consumers.read_models.generations import Generation, Generations
from consumers.read_models.model import Entry
from streams.cuts import Cut
from streams.errors import AgentlogError, DecodeError
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import Namespace

HELD_RECORDS_MAX: Final = 10_000
HELD_BYTES_MAX: Final = 32 * 1024 * 1024
"""Records, and bytes of their values, whose rows are written together at most."""


class _Held:
    """What one partition has brought since it was loaded or stored."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.size = 0
        """Bytes of the records' values."""
        self.tally = Tally()


class RowKeeper:
    """A `Keeper` of rows in one generation: a given one, else whichever is live."""

    def __init__(
        self, generations: Generations, codec: Codec, *, generation: Generation | None = None
    ) -> None:
        self.tally = Tally()
        """What was written."""
        self._generations = generations
        self._codec = codec
        self._given = generation
        self._generation = generation
        self._held: dict[Partition, _Held] = {}
        self._records = 0
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether as much is held as may be."""
        return self._records >= HELD_RECORDS_MAX or self._bytes >= HELD_BYTES_MAX

    @property
    def generation(self) -> Generation:
        """What it writes to: after a swap found by `load`, the new one."""
        if self._generation is None:
            self._generation = self._generations.ensure_live()
        return self._generation

    def load(self, source: Partition, log: Cut) -> int | None:
        """The stored position. Nothing else is needed: what there is stays in the tables."""
        self._begin(source)
        return self._generations.stored(self._current(), log, source).get(source)

    def positions(self, log: Cut) -> dict[Partition, int]:
        """The stored positions of all partitions that were begun."""
        return self._generations.stored(self._current(), log)

    def _current(self) -> Generation:
        """What to write to from here on: it may have been swapped since."""
        if self._given is None:
            self._generation = self._generations.ensure_live()
        return self.generation

    def fold(self, source: Partition, records: Sequence[Record]) -> None:
        """Decode and hold. What cannot be decoded is counted, named once and passed over."""
        held, undecodable, first = self._held[source], 0, ""
        for record in records:
            try:
                envelope = self._codec.decode(record.value, record.headers)
                held.entries.append(Entry(record, envelope))
            except DecodeError as error:
                undecodable += 1
                first = first or f"{record}: {error}"
        size = sum(len(record.value or b"") for record in records)
        held.size += size
        held.tally += Tally(len(records), undecodable, first)
        self._bytes += size
        self._records += len(records)

    def store(self, moves: Sequence[Move], log: Cut) -> bool:
        """Positions, then rows, of these partitions."""
        generation = self.generation
        tables = self._generations.tables(generation.number)
        model, at = self._generations.model, ""
        try:
            with self._generations.database.writing() as connection:
                for move in moves:
                    if not self._generations.move(connection, generation, move, log):
                        raise _Moved
                for source, _, _ in moves:
                    entries = self._held[source].entries
                    if entries:
                        at = f"{entries[0].record} to {entries[-1].record.position}"
                        model.apply(connection, tables, entries)
        except (IntegrityError, _Moved):  # somebody else was first
            return False
        except (SQLAlchemyError, AgentlogError):
            raise
        except Exception as error:
            raise AgentlogError(
                f"read model {model.name} failed on records {at}: {type(error).__name__}: {error}"
            ) from error
        for source, _, _ in moves:
            self.tally += self._held[source].tally
            self._begin(source)
        return True

    def forget(self, source: Partition) -> None:
        """Drop what is held of a partition."""
        held = self._held.pop(source, None)
        if held is not None:
            self._records -= held.tally.records
            self._bytes -= held.size

    def _begin(self, source: Partition) -> None:
        self.forget(source)
        self._held[source] = _Held()


class _Moved(Exception):
    """A position is not where it was: nothing of the transaction may stay."""


class ReadModelRunner:
    """One member of the group that keeps a read model live. `run` is for one thread."""

    def __init__(
        self,
        generations: Generations,
        *,
        bootstrap_servers: str,
        namespace: Namespace,
        codec: Codec,
    ) -> None:
        model = generations.model
        generations.ensure_live()
        self.keeper = RowKeeper(generations, codec)
        self.follower = Follower(
            self.keeper,
            name=f"read model {model.name}",
            group=namespace.group(f"read-model-{model.name}"),
            topics=namespace.topics(model.topics),
            bootstrap_servers=bootstrap_servers,
        )

    @property
    def group(self) -> str:
        """Its group's full name."""
        return self.follower.group

    def run(self, stop: threading.Event) -> None:
        """Keep the rows until `stop` is set. Raises as `Follower.run` does."""
        self.follower.run(stop)
