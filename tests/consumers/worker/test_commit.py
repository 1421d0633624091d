"""Transactions: what each failure means, and when a producer is discarded."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumers.app import App
from consumers.context import Context
from consumers.journal.outcomes import Output
from consumers.marks import Mark
from consumers.worker import transactions as transactions_module
from consumers.worker.ports import Committed, Transaction
from consumers.worker.transactions import KafkaTransactions
from consumers.worker.watchdog import WATCHDOG_EXIT
from streams.errors import BrokerError
from streams.record import Partition
from streams.topics import EVENTS, TASKS
from tests.consumers.worker.harness import ASSIGN, Bench, assign_task, status, until

SOURCE = Partition("ns.tasks", 0)
WORK = Transaction([Output("ns.events", b"k", b"v", [])], [("metadata", {SOURCE: Mark(7)})])

TIMED_OUT = KafkaError(KafkaError._TIMED_OUT, "no answer", retriable=True)
ABORTABLE = KafkaError(KafkaError.ILLEGAL_GENERATION, "not your partition", txn_requires_abort=True)
FATAL = KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, "fenced", fatal=True)


class ScriptedProducer:
    """A producer that notes its calls, and fails or does what it is told in one of them."""

    def __init__(self, failures: dict[str, Callable[[], None] | KafkaError]) -> None:
        self.failures = failures
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        def call(*_values: Any, **_named: Any) -> None:
            self.calls.append(name)
            failure = self.failures.get(name)
            if isinstance(failure, KafkaError):
                raise KafkaException(failure)
            if failure is not None:
                failure()

        return call


async def committed(
    *scripts: dict[str, Callable[[], None] | KafkaError],
) -> tuple[list[Committed], list[ScriptedProducer]]:
    """Two transactions over producers with these scripts, one after the other as they are made."""
    made: list[ScriptedProducer] = []

    def make(_config: dict[str, Any], **_named: Any) -> Any:
        made.append(ScriptedProducer(scripts[len(made)] if len(made) < len(scripts) else {}))
        return made[-1]

    transactions = KafkaTransactions("nowhere:1", "id", make_producer=make)
    try:
        results = [await transactions.commit(WORK), await transactions.commit(WORK)]
    finally:
        await transactions.close()
    return results, made


async def test_a_producer_is_kept_while_nothing_is_suspicious() -> None:
    """Initialised once; positions go in before the commit."""
    results, made = await committed({})
    assert results == [Committed.YES, Committed.YES]
    one = [
        "begin_transaction",
        "produce",
        "poll",
        "send_offsets_to_transaction",
        "commit_transaction",
    ]
    assert [producer.calls for producer in made] == [
        ["init_transactions", *one, "poll", *one, "purge"]
    ]


async def test_h01_a_producer_that_lost_its_broker_while_idle_is_not_used_again() -> None:
    """It hears of that before the next transaction begins, not within it."""
    made: list[ScriptedProducer] = []

    def make(config: dict[str, Any], **_named: Any) -> Any:
        producer = ScriptedProducer({})
        made.append(producer)

        def poll() -> None:
            if producer.calls.count("commit_transaction") == 1:
                config["error_cb"](TIMED_OUT)

        producer.failures["poll"] = poll
        return producer

    transactions = KafkaTransactions("nowhere:1", "id", make_producer=make)
    try:
        results = [await transactions.commit(WORK), await transactions.commit(WORK)]
    finally:
        await transactions.close()
    assert results == [Committed.YES, Committed.YES]
    assert [producer.calls.count("begin_transaction") for producer in made] == [1, 1]


async def test_h01_every_abort_discards_the_producer() -> None:
    """The next transaction has a new producer, whose epoch is higher."""
    results, made = await committed({"send_offsets_to_transaction": ABORTABLE})
    assert results == [Committed.NO, Committed.YES]
    assert made[0].calls[-2:] == ["abort_transaction", "purge"]
    assert made[1].calls[0] == "init_transactions"


async def test_h01_a_commit_that_took_suspiciously_long_discards_the_producer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It committed, but a retry of it may still be on its way."""
    monkeypatch.setattr(transactions_module, "SUSPICIOUS_S", 0.05)
    results, made = await committed({"commit_transaction": lambda: time.sleep(0.1)})
    assert results == [Committed.YES, Committed.YES]
    assert len(made) == 2


async def test_h01_a_disconnect_discards_the_producer() -> None:
    """The client tells of it through its error callback."""
    callbacks: list[Callable[[KafkaError], None]] = []
    made: list[ScriptedProducer] = []

    def make(config: dict[str, Any], **_named: Any) -> Any:
        callbacks.append(config["error_cb"])
        disconnected = KafkaError(KafkaError._TRANSPORT, "disconnected")
        made.append(ScriptedProducer({"commit_transaction": lambda: callbacks[0](disconnected)}))
        return made[-1]

    transactions = KafkaTransactions("nowhere:1", "id", make_producer=make)
    assert await transactions.commit(WORK) is Committed.YES
    assert await transactions.commit(WORK) is Committed.YES
    await transactions.close()
    assert len(made) == 2


@pytest.mark.parametrize("step", ["begin_transaction", "produce", "send_offsets_to_transaction"])
@pytest.mark.parametrize("error", [ABORTABLE, FATAL, TIMED_OUT])
async def test_h04_before_the_commit_was_asked_for_nothing_happened(
    step: str, error: KafkaError
) -> None:
    """Whatever went wrong, and even if the abort is not answered."""
    results, made = await committed({step: error, "abort_transaction": TIMED_OUT})
    assert results == [Committed.NO, Committed.YES]
    assert len(made) == 2


async def test_h04_a_commit_that_demands_an_abort_did_not_happen() -> None:
    """The broker refused it."""
    results, made = await committed({"commit_transaction": ABORTABLE})
    assert results[0] is Committed.NO
    assert "abort_transaction" in made[0].calls


@pytest.mark.parametrize("error", [FATAL, TIMED_OUT])
async def test_h07_a_commit_without_a_clear_answer_is_unknown(error: KafkaError) -> None:
    """Nothing is aborted; a new producer makes the coordinator finish before we go on."""
    results, made = await committed({"commit_transaction": error})
    assert results == [Committed.UNKNOWN, Committed.YES]
    assert "abort_transaction" not in made[0].calls
    assert made[1].calls[0] == "init_transactions"


async def test_without_a_producer_nothing_happened() -> None:
    """A coordinator that is away is asked again; what no later try can mend is raised."""
    results, _ = await committed({"init_transactions": TIMED_OUT})
    assert results == [Committed.NO, Committed.YES]
    denied = KafkaError(KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, "not yours")
    with pytest.raises(BrokerError, match="not yours"):
        await committed({"init_transactions": denied})


async def test_h06_a_call_that_never_returns_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The watchdog says so and exits; the loop was never blocked."""
    monkeypatch.setattr(transactions_module, "WATCHDOG_S", 0.05)
    ended: list[int] = []

    def make(_config: dict[str, Any], **_named: Any) -> Any:
        return ScriptedProducer({"send_offsets_to_transaction": lambda: time.sleep(0.5)})

    transactions = KafkaTransactions("nowhere:1", "id", make_producer=make, give_up=ended.append)
    pending = asyncio.create_task(transactions.commit(WORK))
    await until(lambda: bool(ended), "the watchdog bit", deadline_s=5)
    assert ended == [WATCHDOG_EXIT]
    assert "did not end" in capsys.readouterr().err
    await pending
    await transactions.close()


@pytest.mark.parametrize("lost", [True, False])
async def test_h07_an_unknown_outcome_is_settled_by_the_committed_positions(
    kafka: str, namespace: str, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """The answer to a commit is lost, after it happened or instead: still once each, in order."""
    bench = Bench(kafka, namespace)
    app = App("fleet", topics=(TASKS,))
    times = 0

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        await ctx.publish(status(payload["task"]["id"], "s"))

    real = KafkaTransactions._transact

    def forgetful(self: KafkaTransactions, transaction: Transaction) -> Committed:
        nonlocal times
        times += 1
        if times not in {2, 4}:
            return real(self, transaction)
        if not lost:
            assert real(self, transaction) is Committed.YES
        return self._unknown(KafkaException(TIMED_OUT))

    monkeypatch.setattr(KafkaTransactions, "_transact", forgetful)
    sent = 0
    async with bench.working(app) as task:
        while times <= 4 and sent < 6_000 and not task.done():
            tasks = [assign_task(n, f"k{n % 3}") for n in range(sent, sent + 30)]
            await asyncio.to_thread(bench.send, tasks)
            sent += len(tasks)
        await until(lambda: bench.caught_up("fleet"), "committed", task=task)
    names = [envelope.payload["current_tasks"][0] for envelope in bench.envelopes(EVENTS)]
    assert sorted(names, key=lambda name: int(name[1:])) == [f"t{n}" for n in range(sent)]
    assert [one.faults for one in bench.tiling("fleet").values() if one.faults] == []
