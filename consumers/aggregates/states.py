"""Where the states of streams are kept while a partition is ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import cbor2


class StreamState(NamedTuple):
    """One stream's state after so many events.

    Kept as bytes: whoever decides gets a value of its own, so a decision that fails half-way has
    changed nothing, and live code sees what rebuilt code sees (a tuple is a list in both).
    """

    version: int
    state: bytes
    """CBOR."""

    @staticmethod
    def of(version: int, state: Any) -> StreamState:
        """Raises `cbor2.CBOREncodeError` for a value that CBOR does not keep."""
        return StreamState(version, cbor2.dumps(state))

    def value(self) -> Any:
        """The state, as a value of its own."""
        return cbor2.loads(self.state)


class StateTable(Protocol):
    """The streams of one partition."""

    def get(self, stream_id: str) -> StreamState | None:
        """The stream's state; None if it has no events yet."""
        ...

    def put(self, stream_id: str, state: StreamState) -> None:
        """The stream's state from now on."""
        ...

    def items(self) -> Iterator[tuple[str, StreamState]]:
        """All streams, by id."""
        ...

    def close(self) -> None:
        """The partition is not ours any more: forget all of it."""
        ...


class MemoryStates:
    """A `StateTable` in this process's memory."""

    def __init__(self) -> None:
        self._states: dict[str, StreamState] = {}

    def get(self, stream_id: str) -> StreamState | None:
        """The stream's state; None if it has no events yet."""
        return self._states.get(stream_id)

    def put(self, stream_id: str, state: StreamState) -> None:
        """The stream's state from now on."""
        self._states[stream_id] = state

    def items(self) -> Iterator[tuple[str, StreamState]]:
        """All streams, by id."""
        return iter(sorted(self._states.items()))

    def close(self) -> None:
        """Forget all of it."""
        self._states = {}
