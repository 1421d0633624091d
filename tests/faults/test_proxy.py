"""The proxy on real Kafka: invisible until it holds or cuts; and the hazard that it is for."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient

from streams.kafka.configs import SILENT
from streams.topics import EVENTS, TASKS
from tests.consumers.worker.harness import Bench
from tests.faults import frames
from tests.faults.frames import TransactionRequest
from tests.faults.proxy import Proxy

CALL_S = 20.0


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


def brokers(servers: str) -> dict[int, int]:
    """Real ports by node id."""
    known = AdminClient({"bootstrap.servers": servers}, logger=SILENT).list_topics(timeout=CALL_S)
    return {node: broker.port for node, broker in known.brokers.items()}


def producer(servers: str, **settings: Any) -> Producer:
    return Producer({"bootstrap.servers": servers, **settings}, logger=SILENT)


def visible(bench: Bench) -> list[bytes | None]:
    return [record.value for record in bench.records(EVENTS)]


async def call(function: Callable[..., Any], *values: Any) -> Any:
    """A client call, off the loop that the proxy runs on."""
    async with asyncio.timeout(60):
        return await asyncio.to_thread(function, *values)


async def test_a_client_of_the_proxy_never_meets_a_broker(bench: Bench) -> None:
    """All that it hears of are the proxy's ports, and all works through them."""
    real = await call(brokers, bench.servers)
    async with Proxy(real) as proxy:
        seen = await call(brokers, proxy.servers)
        assert seen.keys() == real.keys()
        assert not set(seen.values()) & set(real.values())
        client = producer(proxy.servers)
        client.produce(bench.namespace.topic(EVENTS), b"through", b"k")
        assert await call(client.flush, CALL_S) == 0
        del client
    assert await call(visible, bench) == [b"through"]


async def test_a_cut_line_passes_nothing_and_closes_nothing(bench: Bench) -> None:
    """Mended, it passes what was under way."""
    async with Proxy(await call(brokers, bench.servers)) as proxy:
        client = producer(proxy.servers)
        topic = bench.namespace.topic(EVENTS)
        client.produce(topic, b"before", b"k")
        assert await call(client.flush, CALL_S) == 0
        proxy.cut()
        client.produce(topic, b"during", b"k")
        assert await call(client.flush, 1.0) == 1
        assert await call(visible, bench) == [b"before"]
        proxy.mend()
        assert await call(client.flush, CALL_S) == 0
        del client
    assert await call(visible, bench) == [b"before", b"during"]


async def test_h01_a_commit_held_back_commits_the_next_transaction_of_a_reused_producer(
    bench: Bench,
) -> None:
    """The hazard itself, with a producer that is not discarded after a timeout: what it would
    have aborted is on the log. So the fault that shows this to our worker has teeth.
    """
    topic = bench.namespace.topic(EVENTS)
    async with Proxy(await call(brokers, bench.servers)) as proxy:
        naive = producer(
            proxy.servers,
            **{"transactional.id": bench.namespace.transactional_id("naive", "x")},
            **{"socket.timeout.ms": 1000, "transaction.timeout.ms": 60_000},
        )
        await call(naive.init_transactions, CALL_S)
        held = proxy.hold(lambda found: found.commits is True)
        naive.begin_transaction()
        naive.produce(topic, b"first", b"k")
        await call(naive.commit_transaction, CALL_S)  # timed out underneath, and was sent again
        assert held.caught.is_set()
        naive.begin_transaction()
        naive.produce(topic, b"second, never committed", b"k")
        assert await call(naive.flush, CALL_S) == 0
        assert await call(visible, bench) == [b"first"]
        assert frames.end_txn_error(await held.release()) == 0
        assert await call(visible, bench) == [b"first", b"second, never committed"]
        with pytest.raises(KafkaException):
            await call(naive.abort_transaction, CALL_S)
        del naive


async def test_h01_a_new_epoch_refuses_a_commit_held_back(bench: Bench) -> None:
    """What the worker does instead: after anything suspicious, a new producer of the same id."""
    topic = bench.namespace.topic(EVENTS)
    settings = {
        "transactional.id": bench.namespace.transactional_id("careful", "x"),
        "socket.timeout.ms": 1000,
        "transaction.timeout.ms": 60_000,
    }
    async with Proxy(await call(brokers, bench.servers)) as proxy:
        epochs: list[int] = []

        def note(found: TransactionRequest) -> None:
            epochs.append(found.epoch)

        proxy.on_transaction = note
        held = proxy.hold(lambda found: found.commits is True)
        for text in (b"first", b"second, never committed"):
            careful = producer(proxy.servers, **settings)
            await call(careful.init_transactions, CALL_S)
            careful.begin_transaction()
            careful.produce(topic, text, b"k")
            assert await call(careful.flush, CALL_S) == 0
            if text == b"first":
                await call(careful.commit_transaction, CALL_S)
        assert frames.end_txn_error(await held.release()) != 0
        assert await call(visible, bench) == [b"first"]
        await call(careful.abort_transaction, CALL_S)
        del careful
    assert await call(visible, bench) == [b"first"]
    assert [epoch for epoch, _ in itertools.groupby(epochs)] == sorted(set(epochs))
    assert len(set(epochs)) == 2


@pytest.mark.parametrize("begun", [True, False], ids=["begun there", "not begun there"])
@pytest.mark.parametrize("moment", ["abort", "init", "begin", "produce", "commit"])
async def test_h01_records_held_back_past_their_abort_are_never_seen(
    bench: Bench, moment: str, begun: bool
) -> None:
    """A produce request of an aborted transaction arrives when its producer is gone, at each step
    of the transaction after it: refused, or aborted with the rest. (That much of KIP-890 brokers
    verify where the client knows nothing of it, too.)
    """
    topic, other = bench.namespace.topic(EVENTS), bench.namespace.topic(TASKS)
    settings = {
        "transactional.id": bench.namespace.transactional_id("late", "x"),
        "socket.timeout.ms": 5000,
        "compression.type": "none",
    }
    async with Proxy(await call(brokers, bench.servers)) as proxy:
        first = producer(proxy.servers, **settings)
        await call(first.init_transactions, CALL_S)
        first.begin_transaction()
        first.produce(other, b"first", b"k")
        if begun:
            first.produce(topic, b"first, aborted", b"k")
        assert await call(first.flush, CALL_S) == 0
        held = proxy.hold_produce(b"first, held back")
        first.produce(topic, b"first, held back", b"k")
        await asyncio.wait_for(held.caught.wait(), CALL_S)
        first.purge()  # as the worker does: nobody waits for what is on its way
        await call(first.abort_transaction, CALL_S)
        if moment == "abort":
            await held.release()
        first.purge()
        del first
        second = producer(bench.servers, **settings)
        await call(second.init_transactions, CALL_S)
        if moment == "init":
            await held.release()
        second.begin_transaction()
        second.produce(other, b"second", b"k")
        assert await call(second.flush, CALL_S) == 0
        if moment == "begin":
            await held.release()
        second.produce(topic, b"second", b"k")
        assert await call(second.flush, CALL_S) == 0
        if moment == "produce":
            await held.release()
        await call(second.commit_transaction, CALL_S)
        if moment == "commit":
            await held.release()
        del second
    assert await call(visible, bench) == [b"second"]
