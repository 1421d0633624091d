"""Transactional ids: their epochs, and the transaction that each may have open.

Rules (KIP-98, KIP-447)
-----------------------
1. `init` gives the id's next epoch. Whoever holds an older one is fenced in every call.
2. What the epoch before left open is aborted by `init`.
3. A transaction begins with the first write or positions in it, and times out after the
   producer's own bound: then it is aborted, and its producer is fenced (H8).
4. Ending what is not open ends nothing, and is no error: nothing was written.
"""

from __future__ import annotations

from typing import Final

import msgspec

from streams.memory.failures import CallFailed, Failure
from streams.memory.positions import CommittedPosition
from streams.record import Partition

TIMEOUT_MS: Final = 10_000
"""How long a transaction may stay open, unless its producer says otherwise."""


class Producer(msgspec.Struct, frozen=True):
    """The right to write as a transactional id, until somebody else takes it."""

    transactional_id: str
    epoch: int


class OpenTransaction:
    """What one transaction has touched so far."""

    __slots__ = ("expires_at_ms", "partitions", "positions")

    def __init__(self, expires_at_ms: int) -> None:
        self.expires_at_ms = expires_at_ms
        self.partitions: dict[Partition, None] = {}
        """In the order of their first record; each gets a marker."""
        self.positions: dict[str, dict[Partition, CommittedPosition]] = {}
        """By group: what becomes its committed positions."""


class _TransactionalId:
    __slots__ = ("epoch", "open", "timeout_ms")

    def __init__(self) -> None:
        self.epoch = -1
        self.timeout_ms = TIMEOUT_MS
        self.open: OpenTransaction | None = None


class Producers:
    """See the module's rules. Who takes an open transaction out must end it on the log."""

    def __init__(self) -> None:
        self._ids: dict[str, _TransactionalId] = {}

    def init(
        self, transactional_id: str, timeout_ms: int
    ) -> tuple[Producer, OpenTransaction | None]:
        """The id's next producer, and what the one before left open: to be aborted."""
        state = self._ids.setdefault(transactional_id, _TransactionalId())
        state.epoch += 1
        state.timeout_ms = timeout_ms
        left_open, state.open = state.open, None
        return Producer(transactional_id, state.epoch), left_open

    def open(self, producer: Producer, now_ms: int) -> OpenTransaction:
        """The producer's transaction, begun if it was not. Raises `CallFailed` if fenced."""
        state = self._state(producer)
        if state.open is None:
            state.open = OpenTransaction(now_ms + state.timeout_ms)
        return state.open

    def require_current(self, producer: Producer) -> None:
        """Raise `CallFailed` (`PRODUCER_FENCED`) unless the producer's epoch is the newest."""
        self._state(producer)

    def take(self, producer: Producer) -> OpenTransaction | None:
        """The producer's transaction, which is to end; None if there is none."""
        state = self._state(producer)
        taken, state.open = state.open, None
        return taken

    def take_expired(self, now_ms: int) -> list[tuple[str, OpenTransaction]]:
        """Transactions that timed out, to be aborted; their producers are fenced."""
        expired = []
        for transactional_id, state in self._ids.items():
            if state.open is not None and state.open.expires_at_ms <= now_ms:
                expired.append((transactional_id, state.open))
                state.open = None
                state.epoch += 1
        return expired

    def next_expiry_ms(self) -> int | None:
        """When the first open transaction times out; None if none is open."""
        return min(
            (state.open.expires_at_ms for state in self._ids.values() if state.open is not None),
            default=None,
        )

    def _state(self, producer: Producer) -> _TransactionalId:
        state = self._ids.get(producer.transactional_id)
        if state is None or state.epoch != producer.epoch:
            raise CallFailed(
                Failure.PRODUCER_FENCED,
                f"{producer.transactional_id} has epoch {state.epoch if state else 'none'}, "
                f"not {producer.epoch}: another producer took over, or its transaction timed out",
            )
        return state
