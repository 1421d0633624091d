"""The watchdog over a transaction bites for a call that hangs, and for nothing else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from consumers.journal.outcomes import Output
from consumers.worker import deliveries as deliveries_module
from consumers.worker import transactions as module
from consumers.worker.deliveries import KafkaDeliveries
from consumers.worker.ports import Committed, Transaction
from consumers.worker.transactions import KafkaTransactions
from consumers.worker.watchdog import WATCHDOG_EXIT, Watchdog
from tests.consumers.worker.harness import until
from tests.consumers.worker.rig import ToldSource


class Producer:
    """Commits at once, and says so; one of its calls hangs until it is told to go on."""

    def __init__(self, hangs: str = "") -> None:
        self.committed = threading.Event()
        self.go_on = threading.Event()
        self._hangs = hangs

    def __getattr__(self, name: str) -> Any:
        def call(*_values: Any, **_named: Any) -> None:
            if name == self._hangs:
                self.go_on.wait(30)
            if name == "commit_transaction":
                self.committed.set()

        return call


@pytest.fixture
def bites() -> list[int]:
    """The exit codes that the watchdog would have ended the process with."""
    return []


@pytest.fixture
def producer(request: pytest.FixtureRequest) -> Iterator[Producer]:
    """One that hangs in the call that the test names, no longer than that."""
    made = Producer(getattr(request, "param", ""))
    yield made
    made.go_on.set()


@pytest.fixture
def transactions(
    monkeypatch: pytest.MonkeyPatch, producer: Producer, bites: list[int]
) -> KafkaTransactions:
    """Transactions over that producer, with little patience."""
    monkeypatch.setattr(module, "WATCHDOG_S", 0.5)
    return KafkaTransactions(
        "nowhere:1",
        "id",
        make_producer=lambda *_values, **_named: producer,  # type: ignore[arg-type]
        give_up=bites.append,
    )


async def test_an_event_loop_that_was_held_up_is_no_hung_transaction(
    transactions: KafkaTransactions, producer: Producer, bites: list[int]
) -> None:
    """A handler blocks the loop past the watchdog while the commit goes through: no bite."""
    commit = asyncio.create_task(transactions.commit(Transaction([], [])))
    await asyncio.sleep(0)
    assert producer.committed.wait(10)
    time.sleep(1.5)  # noqa: ASYNC251 - the blocking handler itself
    assert await commit is Committed.YES
    await transactions.close()
    assert bites == []


@pytest.mark.parametrize("producer", ["commit_transaction"], indirect=True)
async def test_h06_a_handler_that_blocks_the_event_loop_does_not_hold_off_the_watchdog(
    transactions: KafkaTransactions, producer: Producer, bites: list[int]
) -> None:
    """A call hangs while sync code blocks the loop: the bite comes meanwhile."""
    commit = asyncio.create_task(transactions.commit(Transaction([], [])))
    await asyncio.sleep(0)
    deadline = time.monotonic() + 10
    while not bites and time.monotonic() < deadline:
        time.sleep(0.01)  # noqa: ASYNC251 - the blocking handler itself
    assert bites == [WATCHDOG_EXIT]
    producer.go_on.set()
    await commit
    await transactions.close()


@pytest.mark.parametrize("producer", ["purge"], indirect=True)
async def test_a_thread_that_does_not_end_is_not_waited_for_for_ever(
    transactions: KafkaTransactions, producer: Producer, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its producer cannot be put away: the worker ends all the same, and says so."""
    assert await transactions.commit(Transaction([], [])) is Committed.YES
    async with asyncio.timeout(10):
        await transactions.close()
    assert "commit_thread_left_behind" in capsys.readouterr().out


@pytest.mark.parametrize("producer", ["flush"], indirect=True)
async def test_h06_at_least_once_a_flush_that_hangs_ends_the_process_too(
    monkeypatch: pytest.MonkeyPatch, producer: Producer, bites: list[int]
) -> None:
    """Though the event loop is blocked; nothing is said to be committed."""
    monkeypatch.setattr(deliveries_module, "WATCHDOG_S", 0.5)
    monkeypatch.setattr(deliveries_module, "Producer", lambda *_values, **_named: producer)
    deliveries = KafkaDeliveries("nowhere:1", ToldSource(), give_up=bites.append)
    commit = asyncio.create_task(deliveries.commit(Transaction([Output("t", b"k", b"v", [])], [])))
    await asyncio.sleep(0)
    deadline = time.monotonic() + 10
    while not bites and time.monotonic() < deadline:
        time.sleep(0.01)  # noqa: ASYNC251 - the blocking handler itself
    assert bites == [WATCHDOG_EXIT]
    assert not commit.done()
    commit.cancel()
    producer.go_on.set()
    await deliveries.close()


async def test_steps_that_end_and_rests_are_never_too_long(bites: list[int]) -> None:
    """Together they take far longer than one may; then one hangs."""
    watchdog = Watchdog("a test", 1.2, bites.append)
    with watchdog.watching():
        for _ in range(8):
            watchdog.step()
            await asyncio.sleep(0.3)
    await asyncio.sleep(2)
    assert bites == []
    with watchdog.watching():
        await until(lambda: bites == [WATCHDOG_EXIT], "the bite")
    watchdog.close()
