"""A record: the bytes that one partition holds at one position, before anyone decodes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec


class Partition(NamedTuple):
    """One partition of one topic, by the topic's full (namespaced) name."""

    topic: str
    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody misses here

    def __str__(self) -> str:
        return f"{self.topic}[{self.index}]"


class Place(NamedTuple):
    """One position of one partition. Order is that of the log, within a partition."""

    source: Partition
    position: int

    def __str__(self) -> str:
        return f"{self.source}@{self.position}"


class Record(msgspec.Struct, frozen=True, gc=False):
    """What Kafka keeps at `position`: the offset of this very record.

    `appended_at_ms` is the broker's append time (LogAppendTime), epoch milliseconds.
    """

    topic: str
    partition: int
    position: int
    appended_at_ms: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()

    @property
    def source(self) -> Partition:
        """The partition it is on."""
        return Partition(self.topic, self.partition)

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(Partition(self.topic, self.partition), self.position)

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.position}"
