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
from streams.topics import EVENTS
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
