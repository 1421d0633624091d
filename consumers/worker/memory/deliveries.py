"""At-least-once delivery on the log in memory: outputs first, then the positions."""

from __future__ import annotations

import structlog

from consumers.worker.memory.pace import Call, Pace, at_once
from consumers.worker.memory.transactions import append_output
from consumers.worker.ports import Committed, Source, Transaction, marks_by_token
from streams.memory import CallFailed, MemoryLog

_log = structlog.get_logger("agentlog.worker.commit")


class MemoryDeliveries:
    """`Transactions` in name, as `KafkaDeliveries`: what it appends is seen at once."""

    def __init__(self, log: MemoryLog, source: Source, *, pace: Pace = at_once) -> None:
        self._log = log
        self._source = source
        self._pace = pace

    async def commit(self, transaction: Transaction) -> Committed:
        """`NO` if an output was refused or the positions were not taken: all of it is repeated."""
        for output in transaction.outputs:
            await self._pace(Call.APPEND)
            try:
                append_output(self._log, output)
            except CallFailed as error:
                _log.warning("outputs_refused", error=str(error))
                return Committed.NO
        return await self._source.commit(marks_by_token(transaction))

    async def close(self) -> None:
        """Nothing is under way."""
