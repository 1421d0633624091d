"""What handlers send at once, past the transaction: on real Kafka."""

from __future__ import annotations

import asyncio

import pytest

from consumers.worker.sending import Sending
from streams.answers import answered
from streams.client import Client
from streams.envelope import Envelope
from streams.errors import LogError
from tests.asking import DEADLINE_S, Place, Reply, until


@pytest.fixture
def place(kafka: str, namespace: str) -> Place:
    return Place(kafka, namespace)


async def echo(request: Envelope, reply: Reply) -> None:
    await reply(answered(request, request.payload["json"]))


async def test_a_worker_whose_reply_inbox_was_lost_asks_on(place: Place) -> None:
    """Those that wait are told, so that their handlers are tried again: and then are answered."""
    clients: list[Client] = []

    def make_client() -> Client:
        clients.append(place.client())
        return clients[-1]

    sending = Sending(lambda: place.publisher("fleet"), make_client)
    async with asyncio.timeout(DEADLINE_S), place.agent(echo):
        try:
            assert (await sending.request("weather-1", {"n": 1}, 30)).data == '{"n":1}'
            waiting = asyncio.create_task(sending.request("nobody", {}, 30))
            await until(lambda: clients[0].waiting == 1, "it waits")
            consumer = clients[0]._inbox._consumer
            assert consumer is not None
            consumer._fetcher._fetch_task.cancel()
            with pytest.raises(LogError, match="ask again"):
                await waiting
            assert (await sending.request("weather-1", {"n": 2}, 30)).data == '{"n":2}'
        finally:
            await sending.close()
