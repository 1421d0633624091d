"""The watchdog over a transaction bites for a call that hangs, and for nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from consumers.worker import transactions as module
from consumers.worker.ports import Committed, Transaction
from consumers.worker.transactions import KafkaTransactions


class Producer:
    """Commits at once, and says so."""

    def __init__(self, committed: threading.Event) -> None:
        self._committed = committed

    def commit_transaction(self, _timeout: float) -> None:
        self._committed.set()

    def __getattr__(self, _name: str) -> Any:
        return lambda *_values, **_named: None


async def test_an_event_loop_that_was_held_up_is_no_hung_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A handler blocks the loop past the watchdog while the commit goes through: no bite."""
    monkeypatch.setattr(module, "WATCHDOG_S", 0.05)
    committed, bites = threading.Event(), list[int]()
    transactions = KafkaTransactions(
        "nowhere:1",
        "id",
        make_producer=lambda *_values, **_named: Producer(committed),  # type: ignore[arg-type]
        give_up=bites.append,
    )
    commit = asyncio.create_task(transactions.commit(Transaction([], [])))
    await asyncio.sleep(0)
    assert committed.wait(10)
    time.sleep(0.2)  # noqa: ASYNC251 - the blocking handler itself
    assert await commit is Committed.YES
    await transactions.close()
    assert bites == []
