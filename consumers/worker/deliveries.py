"""At-least-once delivery: what it led to first, then the positions. No transactions.

1. `produce` all outputs and journal records, idempotently; wait until all are acknowledged. A
   crash here: whoever takes over runs the same records again, and their outputs are there twice.
   If one is refused, all of them are sent again: those that were not refused are there twice, and
   may stand before the one that was.
2. Commit positions and marks, each under its assignment: one that has gone or was reloaded
   meanwhile commits nothing, and its records run again. A crash before it: as in 1.

A call of the producer that ignores its bound ends the process (`watchdog`), as with transactions.
Cheaper by the transaction's markers and round trips, and its outputs are seen at once.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import structlog
from confluent_kafka import KafkaError, Message, Producer

from consumers.worker.ports import Committed, Source, Transaction, marks_by_token
from consumers.worker.transactions import CONFIG as TRANSACTIONS
from consumers.worker.transactions import WATCHDOG_S, produce_all
from consumers.worker.watchdog import Watchdog
from streams.kafka.configs import SILENT

FLUSH_S_MAX: Final = 15.0
"""Above `message.timeout.ms`: by then every record is acknowledged or refused."""
_TRANSACTIONAL: Final = frozenset({"transaction.timeout.ms"})
CONFIG: Final[Mapping[str, Any]] = {
    **{name: value for name, value in TRANSACTIONS.items() if name not in _TRANSACTIONAL},
    "delivery.report.only.error": True,
}

_log: Final = structlog.get_logger("agentlog.worker.commit")


class KafkaDeliveries:
    """`Transactions` in name: outputs by an idempotent producer, positions by the source."""

    def __init__(
        self, bootstrap_servers: str, source: Source, *, give_up: Callable[[int], Any] = os._exit
    ) -> None:
        self._config = {**CONFIG, "bootstrap.servers": bootstrap_servers}
        self._source = source
        self._producer: Producer | None = None
        self._watchdog = Watchdog("a delivery", WATCHDOG_S, give_up)

    async def commit(self, transaction: Transaction) -> Committed:
        """`NO` if an output was refused or the positions were not taken: all of it is repeated."""
        if self._producer is None:
            # Even if there is nothing to send yet: it takes half a second to get ready.
            self._producer = Producer(self._config, logger=SILENT)
        if transaction.outputs and not await asyncio.to_thread(
            self._deliver, self._producer, transaction
        ):
            return Committed.NO
        return await self._source.commit(marks_by_token(transaction))

    async def close(self) -> None:
        """Nothing is under way."""
        self._producer = None
        self._watchdog.close()

    def _deliver(self, producer: Producer, transaction: Transaction) -> bool:
        refused: list[KafkaError] = []

        def on_delivery(error: KafkaError, _message: Message) -> None:
            refused.append(error)

        try:
            with self._watchdog.watching():
                produce_all(producer, transaction.outputs, on_delivery)
                self._watchdog.step()
                left = producer.flush(FLUSH_S_MAX)
        except BufferError as error:
            _log.warning("outputs_not_taken", error=str(error))
            left = 1
        if refused or left:
            _log.warning("outputs_refused", count=len(refused) + left, errors=str(refused[:3]))
            producer.purge()
            self._producer = None
            return False
        return True
