"""What one fetch brought: records where somebody wants records, columns where columns are faster.

Making a `Record` of every message costs more than folding it in columns, so a batch keeps the
client's messages and makes records only when it is read as a sequence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from confluent_kafka import Message

from streams.record import Partition, Record


class Columns(NamedTuple):
    """Some records of one partition, column by column; equally long, in position order."""

    appended_at_ms: list[int]
    values: list[bytes | None]


class FetchedBatch(Sequence[Record]):
    """Visible records of one partition, in order."""

    __slots__ = ("_messages", "source")

    def __init__(self, source: Partition, messages: Sequence[Message]) -> None:
        self.source = source
        self._messages = messages

    def columns(self) -> Columns:
        """The batch without its keys and headers."""
        return Columns(
            [message.timestamp()[1] for message in self._messages],
            [message.value() for message in self._messages],
        )

    def keys(self) -> list[bytes | None]:
        """The records' keys."""
        return [message.key() for message in self._messages]

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> FetchedBatch: ...
    def __getitem__(self, index: int | slice) -> Record | FetchedBatch:
        if isinstance(index, slice):
            return FetchedBatch(self.source, self._messages[index])
        return record_of(self._messages[index])

    def __iter__(self) -> Iterator[Record]:
        return map(record_of, self._messages)


def record_of(message: Message) -> Record:
    """The record that a confluent-kafka message carries."""
    return Record(
        topic=message.topic(),  # type: ignore[arg-type]  # set on everything that is no error
        partition=message.partition(),  # type: ignore[arg-type]
        position=message.offset(),  # type: ignore[arg-type]
        appended_at_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=tuple(message.headers() or ()),  # type: ignore[arg-type]
    )
