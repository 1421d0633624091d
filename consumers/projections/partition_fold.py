"""Folding one partition: records in, state out, by rows or in columns.

Both ways give the same state. Columns are for projections that offer them (`Columnar`), on the
topics where they do. A record that cannot be decoded is counted, named once, and passed over: it
is the workers who dead-letter it.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar, runtime_checkable

import msgspec

from consumers.projections.columnar import ColumnDecoder, Rows
from consumers.projections.filters import EVERYTHING, Filters
from consumers.projections.projection import Projection
from streams.errors import AgentlogError, DecodeError
from streams.kafka.batches import Columns, FetchedBatch
from streams.record import Record
from streams.schemas import Codec

S = TypeVar("S")

ROWS_MAX: Final = 50_000
"""Records that a columnar fold gathers before it decodes them."""
ROW_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes of values that it gathers at most, beyond the batch that reaches it."""


@runtime_checkable
class Columnar(Protocol):
    """What a projection adds to be folded in columns."""

    @property
    def columnar_topics(self) -> tuple[str, ...]:
        """Logical names of the topics whose records `apply_rows` may take, in any order."""
        ...

    def apply_rows(self, state: Any, rows: Rows, filters: Filters) -> Any:
        """The state after these envelopes; equal to `apply` on each that the filters accept."""
        ...


class Tally(msgspec.Struct, frozen=True):
    """What a fold went through."""

    records: int = 0
    """Visible records read."""
    undecodable: int = 0
    first_undecodable: str = ""
    """Where and why, of the first of them; by name of the partition if there are several."""

    def __add__(self, other: Tally) -> Tally:
        named = [first for first in (self.first_undecodable, other.first_undecodable) if first]
        return Tally(
            self.records + other.records,
            self.undecodable + other.undecodable,
            min(named, default=""),
        )


class PartitionFold(Generic[S]):
    """A projection's state over one partition, record by record.

    `state` and `tally` are what it goes on from; by default it begins.
    """

    def __init__(
        self,
        projection: Projection[S],
        codec: Codec,
        filters: Filters = EVERYTHING,
        state: S | None = None,
        tally: Tally | None = None,
    ) -> None:
        self._projection = projection
        self._codec = codec
        self._filters = filters
        self.state: S = projection.initial() if state is None else state
        self.tally = Tally() if tally is None else tally

    def add(self, records: Sequence[Record]) -> None:
        """Fold a batch."""
        undecodable, first = 0, ""
        for record in records:
            if not self._filters.accept_key(record.key):
                continue
            try:
                envelope = self._codec.decode(record.value, record.headers)
                if self._filters.accept(envelope):
                    self.state = self._projection.apply(self.state, record, envelope)
            except DecodeError as error:
                undecodable += 1
                first = first or f"{record}: {error}"
            except Exception as error:
                raise fold_failed(self._projection, str(record), error) from error
        self.tally += Tally(len(records), undecodable, self.tally.first_undecodable or first)

    def finish(self) -> tuple[S, Tally]:
        """The state after all that was added so far; more may be added."""
        return self.state, self.tally


class ColumnFold(PartitionFold[S]):
    """The same state, decoded and folded many records at a time."""

    def __init__(
        self,
        projection: Projection[S],
        codec: Codec,
        filters: Filters,
        decoder: ColumnDecoder,
        state: S | None = None,
        tally: Tally | None = None,
    ) -> None:
        super().__init__(projection, codec, filters, state, tally)
        assert isinstance(projection, Columnar)
        self._columnar: Columnar = projection
        self._decoder = decoder
        self._held: list[tuple[Sequence[Record], Columns]] = []
        self._held_rows = 0
        self._held_bytes = 0

    def add(self, records: Sequence[Record]) -> None:
        """Hold a batch; fold what is held when it is large enough to be worth it."""
        if not records:
            return
        columns = records.columns() if isinstance(records, FetchedBatch) else columns_of(records)
        self._held.append((records, columns))
        self._held_rows += len(records)
        self._held_bytes += sum(map(len, filter(None, columns.values)))
        if self._held_rows >= ROWS_MAX or self._held_bytes >= ROW_BYTES_MAX:
            self._fold_held()

    def finish(self) -> tuple[S, Tally]:
        """The state after all that was added so far, what is held included."""
        self._fold_held()
        return self.state, self.tally

    def _fold_held(self) -> None:
        held, self._held = self._held, []
        self._held_rows = self._held_bytes = 0
        if not held:
            return
        topic = held[0][0][0].topic
        times = [time for _, columns in held for time in columns.appended_at_ms]
        decoded = self._decoder.decode([it for _, columns in held for it in columns.values])
        for indices, table in decoded.blocks:
            rows = Rows(topic, table, [times[i] for i in indices], partial(_keys, held, indices))
            try:
                self.state = self._columnar.apply_rows(self.state, rows, self._filters)
            except Exception as error:
                raise fold_failed(self._projection, _span(held), error) from error
            self.tally += Tally(len(indices))
        if decoded.rest:
            places = [(batch, n) for batch, _ in held for n in range(len(batch))]
            super().add([places[i][0][places[i][1]] for i in decoded.rest])


def fold_failed(projection: Projection[Any], on: str, error: Exception) -> AgentlogError:
    """A fold that raised, with where: its state would be wrong from there on."""
    at = traceback.extract_tb(error.__traceback__)[-1]
    return AgentlogError(
        f"projection {projection.name} failed on {on}: {type(error).__name__}: {error} "
        f"({at.filename}:{at.lineno})"
    )


def _span(held: Sequence[tuple[Sequence[Record], Columns]]) -> str:
    first, last = held[0][0][0], held[-1][0][-1]
    return f"the records from {first} to {last.position}"


def columns_of(records: Sequence[Record]) -> Columns:
    """The columns of records that were made already."""
    return Columns(
        [record.appended_at_ms for record in records],
        [record.value for record in records],
    )


def _keys(
    held: Sequence[tuple[Sequence[Record], Columns]], indices: Sequence[int]
) -> list[bytes | None]:
    keys = [key for batch, _ in held for key in keys_of(batch)]
    return [keys[index] for index in indices]


def keys_of(records: Sequence[Record]) -> list[bytes | None]:
    """The records' keys, without making the records where that can be spared."""
    if isinstance(records, FetchedBatch):
        return records.keys()
    return [record.key for record in records]
