"""A broker that goes away: publishes fail in time, say that they may be tried again, and do."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress

import pytest

from streams.brokers.embedded import EmbeddedKafka
from streams.envelope import Envelope, Kind
from streams.errors import PublishError
from streams.kafka.admin import TopicAdmin
from streams.kafka.publisher import Publisher
from streams.schemas import Catalogue, Codec
from streams.topics import TOPICS, Namespace

CODEC = Codec(Catalogue.load())
NAMESPACE = Namespace("outage")


@pytest.fixture
def own_kafka() -> Iterator[EmbeddedKafka]:
    with EmbeddedKafka() as running:
        TopicAdmin(running.bootstrap_servers).provision(
            NAMESPACE, {name: TOPICS[name] for name in ("inbox", "schemas")}
        )
        yield running


def hello() -> Envelope:
    return Envelope(
        type="agentlog.Json", payload={"json": "{}"}, kind=Kind.REQUEST, recipients=("a",)
    )


async def until_refused(publisher: Publisher) -> None:
    """A signal takes a moment to stop all threads of a broker, and one may still answer."""
    while True:
        await publisher.publish(hello())


async def test_a_stopped_broker_is_a_retriable_error_in_time_and_then_all_goes_on(
    own_kafka: EmbeddedKafka,
) -> None:
    """SIGSTOP, as a partition would look; what was in flight is written once it is back."""
    pid = own_kafka.state.processes[0].pid
    async with Publisher(
        own_kafka.bootstrap_servers, NAMESPACE, CODEC, sender="s", delivery_timeout_ms=1_000
    ) as publisher:
        first = await publisher.publish(hello())
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(20):
                with pytest.raises(PublishError, match="may still be written") as caught:
                    await until_refused(publisher)
        finally:
            os.kill(pid, signal.SIGCONT)
        assert caught.value.retriable
        async with asyncio.timeout(60):
            last = None
            while last is None:
                with suppress(PublishError):  # what is in flight may still be timing out
                    last = await publisher.publish(hello())
    assert last.position > first.position


async def test_closing_without_a_broker_ends_in_time(own_kafka: EmbeddedKafka) -> None:
    publisher = Publisher(
        own_kafka.bootstrap_servers, NAMESPACE, CODEC, sender="s", delivery_timeout_ms=1_000
    )
    await publisher.start()
    await publisher.publish(hello())
    os.kill(own_kafka.state.processes[0].pid, signal.SIGKILL)
    waiting = asyncio.create_task(publisher.publish(hello()))
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await publisher.close()
        with pytest.raises(PublishError) as caught:
            await waiting
    assert caught.value.retriable
