"""Stored payloads: the end of a value's bytes until somebody touches them, then their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from streams.errors import DecodeError
from streams.schemas.decoder import BAD_BYTES, Decoder, why
from streams.schemas.upcasting import climb

if TYPE_CHECKING:
    from streams.schemas.upcasting import Rung
    from streams.schemas.writer_schema import WriterSchema


class PayloadReader:
    """How the payloads of one writer are read: as they were written, or as today's version."""

    def __init__(self, rungs: Sequence[Rung]) -> None:
        """`rungs`: the writer's version, and those above it up to today's."""
        self.writer = rungs[0].writer
        self._rungs = rungs

    @cached_property
    def decode(self) -> Decoder:
        """Made when first needed: whoever only routes never needs it."""
        return climb(self._rungs)


class StoredPayload(Mapping[str, Any]):
    """A payload that came from the log: bytes until somebody touches it, then its fields.

    It keeps the value that it came in, as `raw` is a slice of it.
    """

    __slots__ = ("_fields", "_reader", "_start", "_value")

    def __init__(self, reader: PayloadReader, value: bytes, start: int) -> None:
        self._reader = reader
        self._value = value
        self._start = start
        self._fields: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The decoded payload. Raises `DecodeError` if the bytes are not what the schema says."""
        if self._fields is None:
            try:
                self._fields = self._reader.decode(self._value, self._start)
            except BAD_BYTES as error:
                raise DecodeError(f"payload of {self.writer.payload_name}: {why(error)}") from error
        return self._fields

    @property
    def writer(self) -> WriterSchema:
        """The schema that wrote it."""
        return self._reader.writer

    @property
    def raw(self) -> bytes:
        """Its Avro body, under the writer's schema."""
        return self._value[self._start :]

    def __getitem__(self, key: str) -> Any:
        return self.fields[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __repr__(self) -> str:
        return repr(self.fields)
