"""One of the two: a fold, the codec that it reads with, and what people call it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

import msgspec

from streams.errors import AgentlogError
from streams.schemas import Codec

F = TypeVar("F")


class Side(msgspec.Struct, Generic[F], frozen=True):
    """`fold` is a projection, or aggregates."""

    label: str
    fold: F
    codec: Codec

    @contextmanager
    def named(self) -> Iterator[None]:
        """An error inside says which of the two it is of; its class stays."""
        try:
            yield
        except AgentlogError as error:
            error.args = (f"{self.label}: {error}",)
            raise
