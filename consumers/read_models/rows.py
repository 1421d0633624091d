"""Rows kept up to date: by a group as the log grows, or at once up to a cut.

Both ways hold records in memory and write what they change, with the positions, in one
transaction. Both may work on a generation at the same time: whoever finds a position moved writes
nothing, and goes on from there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from consumers.following import Follower, Move
from consumers.projections.partition_fold import Tally
from consumers.read_models.generations import Generation, Generations
from consumers.read_models.model import Entry
from streams.cuts import Cut
from streams.errors import AgentlogError, DecodeError
from streams.ports import LogReader
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import Namespace

HELD_RECORDS_MAX: Final = 10_000
HELD_BYTES_MAX: Final = 32 * 1024 * 1024
"""Records, and bytes of their values, whose rows are written together at most."""
WRITE_S: Final = 0.5
"""How often a catch-up writes what it holds at the least, in seconds: a lock is held as long."""
OTHERS_S_MAX: Final = 5.0
"""How long a catch-up waits for another member that is at the same partition and stands still."""

_OTHERS_POLL_S: Final = 0.05

OnProgress = Callable[[int, int], None]
"""Called with (positions passed, positions in all)."""


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


def catch_up(
    keeper: RowKeeper,
    reader: LogReader,
    cut: Cut,
    *,
    deadline: float | None = None,
    on_progress: OnProgress | None = None,
) -> bool:
    """Write the rows of everything below the cut; False if `deadline` (monotonic) came first.

    Reads in no group. What is stored by then stays, whichever way this ends.
    """
    starts = keeper.positions(cut)
    total = sum(max(0, end - starts.get(source, 0)) for source, end in cut)
    passed = 0
    for source, end in cut:
        begin = starts.get(source, 0)
        if begin >= end:
            continue
        if deadline is not None and time.monotonic() >= deadline:
            return False

        def on_partition(position: int, begin: int = begin, passed: int = passed) -> None:
            if on_progress:
                on_progress(passed + position - begin, total)

        if not _catch_up(keeper, reader, cut, source, deadline, on_partition):
            return False
        passed += end - begin
    return True


def _catch_up(
    keeper: RowKeeper,
    reader: LogReader,
    cut: Cut,
    source: Partition,
    deadline: float | None,
    on_partition: Callable[[int], None],
) -> bool:
    end, stored = cut.ends[source], keeper.load(source, cut)
    while (stored or 0) < end:
        position, written_at = stored or 0, time.monotonic()
        for batch in reader.read(source, position, end):
            keeper.fold(source, batch)
            position = batch[-1].position + 1
            late = deadline is not None and time.monotonic() >= deadline
            if late or keeper.is_full or time.monotonic() >= written_at + WRITE_S:
                if not keeper.store([Move(source, stored, position)], cut):
                    break
                stored, written_at = position, time.monotonic()
                on_partition(position)
                if late:
                    return False
        else:
            # Behind the last record there may be markers: the end is passed all the same.
            if keeper.store([Move(source, stored, end)], cut):
                on_partition(end)
                return True
        stored = _after_others(keeper, cut, source)
        on_partition(min(stored or 0, end))
        if deadline is not None and time.monotonic() >= deadline and (stored or 0) < end:
            return False
    return True


def _after_others(keeper: RowKeeper, cut: Cut, source: Partition) -> int | None:
    """The position once the member that was faster is done, or has stood still for a while."""
    at = keeper.load(source, cut)
    still_until = time.monotonic() + OTHERS_S_MAX
    while (at or 0) < cut.ends[source] and time.monotonic() < still_until:
        time.sleep(_OTHERS_POLL_S)
        now = keeper.load(source, cut)
        if now != at:
            at, still_until = now, time.monotonic() + OTHERS_S_MAX
    return at
