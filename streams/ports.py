"""Ports: what the core asks of the world, as protocols.

Each port has one contract suite (`tests/contracts`) that every adapter passes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from streams.cuts import Cut
from streams.record import Partition, Record


class Clock(Protocol):
    """Wall time. Everything pure takes its readings as arguments instead."""

    def now_us(self) -> int:
        """UTC microseconds since the epoch."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now_us(self) -> int:
        """UTC microseconds since the epoch."""
        return time.time_ns() // 1000


class SchemaSource(Protocol):
    """Where the writer schema of an id that is not in the catalogue may be found."""

    def writer_schema(self, schema_id: int) -> str | None:
        """The schema's JSON text, or None if this source does not know the id."""
        ...


class LogReader(Protocol):
    """Bounded reads of the log by position, in no group; read-committed."""

    def ends(self, topics: Iterable[str]) -> Cut:
        """The end (LSO) of every partition of these topics, by full name, as of now."""
        ...

    def starts(self, topics: Iterable[str]) -> dict[Partition, int]:
        """The first position that each partition still has."""
        ...

    def read(self, source: Partition, start: int, end: int) -> Iterator[Sequence[Record]]:
        """Batches of the visible records of one partition with start ≤ position < end, in order.

        Ends when the reader has passed `end`, never at "last record = end − 1": the last
        positions may hold markers or aborted records. Raises `LogError` if `start` was removed by
        retention or lies beyond the log's end, `BrokerError` if the broker does not answer.
        """
        ...


class OpenEndReader(LogReader, Protocol):
    """A log reader that also knows where a partition ends with what is not committed yet."""

    def appended_end(self, source: Partition) -> int:
        """The end of one partition as of now, records of open transactions included."""
        ...
