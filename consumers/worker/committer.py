"""The committer: what has settled, into one transaction after another.

A transaction starts when the last one ended and something finished, `commit_linger_ms` later so
that more can join it. While nothing finishes, positions move over invisible records alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from consumers.journal import Delivery, Output, journal_envelopes
from consumers.marks import Mark
from consumers.outbox import Outbox
from consumers.worker.assignment import CommitPart
from consumers.worker.core import Core
from consumers.worker.ports import Committed, Transaction, Transactions
from streams.errors import BrokerError
from streams.record import Partition

IDLE_COMMIT_S: Final = 1.0
"""How long nothing must finish before positions move over invisible records alone."""
SETTLED_AT_ONCE: Final = 1_000
"""Records whose outcomes are written down before the event loop gets to do anything else."""
ABORTS_MAX: Final = 50
"""Aborts in a row after which the worker gives up."""
ABORT_BACKOFF_S: Final = 0.05
ABORT_BACKOFF_S_MAX: Final = 2.0


class Committer:
    """Commits for one worker; one transaction is under way at a time.

    `on_unknown` is told which partitions must be reloaded after an outcome that nobody knows,
    `on_committed` that something may run now that had to wait for a commit.
    """

    def __init__(
        self,
        core: Core,
        transactions: Transactions,
        outbox: Outbox,
        *,
        group: str,
        run_id: str,
        linger_ms: int,
        delivery: Delivery,
        on_unknown: Callable[[Sequence[Partition]], None],
        on_committed: Callable[[], None],
    ) -> None:
        self._core = core
        self._transactions = transactions
        self._outbox = outbox
        self._group = group
        self._run_id = run_id
        self._linger_s = linger_ms / 1000
        self._delivery = delivery
        self._on_unknown = on_unknown
        self._on_committed = on_committed
        self._wake = asyncio.Event()
        self._hurry = asyncio.Event()
        """Set when a commit must not wait for others to join it."""
        self._one_at_a_time = asyncio.Lock()
        self._settled_since: float | None = None
        self._ending = False
        self._aborts = 0
        self._announced: set[str] = set()

    def settled(self) -> None:
        """Something finished."""
        if self._settled_since is None:
            self._settled_since = asyncio.get_running_loop().time()
            self._wake.set()

    def mark(self) -> None:
        """A mark is due, which records wait for: commit at once."""
        self._hurry.set()
        self._wake.set()

    def end(self) -> None:
        """Let `run` return after the commit that is under way."""
        self._ending = True
        self._hurry.set()
        self._wake.set()

    async def run(self) -> None:
        """Commit whenever something has settled, until `end`. Raises `BrokerError`."""
        while not self._ending:
            idle = False
            try:
                async with asyncio.timeout(IDLE_COMMIT_S):
                    await self._wake.wait()
            except TimeoutError:
                idle = True
            if self._settled_since is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self._settled_since + self._linger_s):
                        await self._hurry.wait()
            await self._commit(also_idle=idle)

    async def at_rest(self) -> None:
        """Until what is being committed now has ended, however it does."""
        async with self._one_at_a_time:
            pass

    async def leave(self, sources: Iterable[Partition]) -> None:
        """Commit what is settled of these partitions, and that they are given up in order."""
        wanted = tuple(sources)
        # Whether they are open is known when no commit is under way.
        async with self._one_at_a_time:
            self._core.leave(wanted)
        await self._commit(also_idle=True)
        while self._core.settled_of(wanted):
            await self._commit(also_idle=True)

    async def _commit(self, *, also_idle: bool) -> None:
        """One transaction with all that is settled, if anything is."""
        async with self._one_at_a_time:
            self._wake.clear()
            self._hurry.clear()
            self._settled_since = None
            parts = self._core.next_commit(also_idle=also_idle)
            if not parts:
                return
            try:
                transaction = await self._transaction(parts)
                types = set(self._outbox.types_used)
                result = await self._transactions.commit(transaction)
            except BaseException:
                # Whatever became of it, nothing that it held may count as finished.
                self._core.give_up([part.assignment.source for part in parts])
                raise
            if result is Committed.YES:
                self._aborts = 0
                self._announced |= types
                self._core.committed(parts)
                self._on_committed()
                if self._core.settled_of():
                    self._wake.set()  # a commit takes only so much, and things finished meanwhile
                return
            if result is Committed.NO:
                self._core.aborted(parts)
            else:
                self._on_unknown(self._core.unknown(parts))
            await self._back_off()

    async def _transaction(self, parts: Sequence[CommitPart]) -> Transaction:
        outputs: list[Output] = []
        positions: list[tuple[Any, dict[Partition, Mark]]] = []
        now_us = self._outbox.clock.now_us()
        settled = 0
        for part in parts:
            settled += len(part.commit.settled)
            if settled >= SETTLED_AT_ONCE:
                settled = 0
                await asyncio.sleep(0)
            for one in part.commit.settled:
                outputs += one.outputs
            if not part.empty:
                outputs += self._journal(part, now_us)
            _positions_under(part.assignment.metadata, positions)[part.commit.source] = part.mark
        schemas = [
            self._outbox.schema_record(name)
            for name in sorted(self._outbox.types_used - self._announced)
        ]
        tokens = {part.commit.source: part.assignment.token for part in parts}
        return Transaction([*schemas, *outputs], positions, tokens)

    def _journal(self, part: CommitPart, now_us: int) -> list[Output]:
        return [
            output
            for envelope in journal_envelopes(
                self._group,
                part.commit,
                writer=self._run_id,
                now_us=now_us,
                delivery=self._delivery,
            )
            for output in self._outbox.journal(envelope)
        ]

    async def _back_off(self) -> None:
        self._aborts += 1
        if self._aborts > ABORTS_MAX:
            raise BrokerError(
                f"group {self._group}: {self._aborts} transactions in a row did not commit; "
                "see the log lines `transaction_aborted`"
            )
        self._wake.set()
        await asyncio.sleep(min(ABORT_BACKOFF_S * 2**self._aborts, ABORT_BACKOFF_S_MAX))


def _positions_under(
    metadata: Any, positions: list[tuple[Any, dict[Partition, Mark]]]
) -> dict[Partition, Mark]:
    """The positions that commit under this assignment's metadata, as one call."""
    for known, found in positions:
        if known is metadata:
            return found
    positions.append((metadata, {}))
    return positions[-1][1]
