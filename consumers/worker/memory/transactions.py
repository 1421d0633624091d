"""`Transactions` on the log in memory, by the rules of `consumers.worker.transactions`.

The same steps, the same meaning of a failure between them, and the same care: a producer whose
transaction was aborted, or took suspiciously long, or was not answered, is not used again (H1).
Who is cancelled in a commit leaves its transaction open, as a process that dies does.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from consumers.journal.outcomes import Output
from consumers.journal.telling import completed
from consumers.worker.memory.pace import Call, Pace, at_once
from consumers.worker.memory.source import stored_positions
from consumers.worker.ports import Committed, Transaction
from streams.memory import CallFailed, Failure, MemoryLog, Producer
from streams.record import Partition
from streams.topics.partitioning import partition_for

SUSPICIOUS_S: Final = 1.0
"""A transaction that takes longer may have been retried underneath, on Kafka."""
TIMEOUT_MS: Final = 10_000
"""After which the log aborts a transaction that is left open."""

_log: Final = structlog.get_logger("agentlog.worker.commit")


class MemoryTransactions:
    """`Transactions` over one producer at a time on a `MemoryLog`."""

    def __init__(self, log: MemoryLog, transactional_id: str, *, pace: Pace = at_once) -> None:
        self._log = log
        self._transactional_id = transactional_id
        self._pace = pace
        self._producer: Producer | None = None
        self.producers_made = 0
        """How many producers there were; one unless something was suspicious."""

    async def commit(self, transaction: Transaction) -> Committed:
        """Run one transaction to its end."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            producer = await self._standing_producer()
        except CallFailed as error:
            _log.warning("no_producer", error=str(error))
            return Committed.NO
        try:
            telling = [one for one in transaction.outputs if one.tells is not None]
            told: dict[int, int] = {}
            for output in transaction.outputs:
                if output.tells is None:
                    await self._pace(Call.APPEND)
                    told[id(output)] = append_output(self._log, output, producer)
            for output in completed(telling, told):
                await self._pace(Call.APPEND)
                append_output(self._log, output, producer)
            for metadata, marks in transaction.positions:
                await self._pace(Call.SEND_POSITIONS)
                self._log.send_positions(producer, metadata, stored_positions(marks))
        except CallFailed as error:
            return await self._abort(producer, error)
        await self._pace(Call.COMMIT)
        try:
            self._log.commit(producer)
        except CallFailed as error:
            if error.failure is Failure.TRANSACTION_ABORTABLE:
                return await self._abort(producer, error)
            return await self._unknown(error)
        await self._pace(Call.COMMIT_ANSWER)
        if loop.time() - began > SUSPICIOUS_S:
            self._producer = None
        return Committed.YES

    async def close(self) -> None:
        """Nothing is under way."""
        self._producer = None

    async def _abort(self, producer: Producer, cause: CallFailed) -> Committed:
        """Before the commit was asked for, whatever becomes of the abort, nothing happens."""
        _log.warning("transaction_aborted", error=str(cause))
        self._producer = None
        await self._pace(Call.ABORT)
        try:
            self._log.abort(producer)
        except CallFailed as error:
            _log.warning("abort_unanswered", error=str(error))
        return Committed.NO

    async def _unknown(self, cause: CallFailed) -> Committed:
        """A new producer ends what this one left open, unless that has happened already."""
        _log.warning("transaction_unknown", error=str(cause))
        self._producer = None
        try:
            await self._standing_producer()
        except CallFailed as error:
            _log.warning("no_producer", error=str(error))
        return Committed.UNKNOWN

    async def _standing_producer(self) -> Producer:
        if self._producer is None:
            await self._pace(Call.INIT)
            self._producer = self._log.init_producer(self._transactional_id, timeout_ms=TIMEOUT_MS)
            self.producers_made += 1
        return self._producer


def append_output(log: MemoryLog, output: Output, producer: Producer | None = None) -> int:
    """Write an output where it says, else where its key belongs. Raises `CallFailed`."""
    partition = output.partition
    if partition is None:
        partition = partition_for(output.key or b"", max(len(log.partitions(output.topic)), 1))
    source = Partition(output.topic, partition)
    return log.append(source, output.key, output.value, tuple(output.headers), producer=producer)
