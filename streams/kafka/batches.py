"""What one fetch brought: records where somebody wants records, columns where columns are faster.

Making a `Record` of every message costs more than folding it in columns, so a batch keeps the
client's messages and makes records only when it is read as a sequence. Their headers are made when
somebody looks at them: a dozen of objects each, which most reads of a log never need.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

from confluent_kafka import Message

from streams.headers import Header
from streams.record import Partition, Record


class Columns(NamedTuple):
    """Some records of one partition, column by column; equally long, in position order."""

    appended_at_ms: list[int]
    values: list[bytes | None]


class FetchedHeaders(Sequence[Header]):
    """A message's headers; equal to the tuple of them."""

    __slots__ = ("_message",)

    def __init__(self, message: Message) -> None:
        self._message = message

    def _all(self) -> tuple[Header, ...]:
        return tuple(self._message.headers() or ())  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._all())

    @overload
    def __getitem__(self, index: int) -> Header: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Header, ...]: ...
    def __getitem__(self, index: int | slice) -> Header | tuple[Header, ...]:
        return self._all()[index]

    def __iter__(self) -> Iterator[Header]:
        return iter(self._all())

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, FetchedHeaders) else other)

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return repr(self._all())


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
        return _seen_through(self._messages[index])

    def __iter__(self) -> Iterator[Record]:
        return map(_seen_through, self._messages)


def record_of(message: Message) -> Record:
    """The record that a confluent-kafka message carries, all of it."""
    return _record(message, tuple(message.headers() or ()))  # type: ignore[arg-type]


def _seen_through(message: Message) -> Record:
    """The same, its headers left with the client until somebody asks for them."""
    return _record(message, FetchedHeaders(message))


def _record(message: Message, headers: Sequence[Header]) -> Record:
    return Record(
        topic=message.topic(),  # type: ignore[arg-type]  # set on everything that is no error
        partition=message.partition(),  # type: ignore[arg-type]
        position=message.offset(),  # type: ignore[arg-type]
        appended_at_ms=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=headers,
    )
