"""What a worker's handlers send at once: past the transaction, by a publisher of its own.

Most apps never do, so nothing is opened before it is needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from streams.answers import Answer
from streams.client import Client
from streams.envelope import Envelope
from streams.kafka.publisher import Publisher


class Sending:
    """The publisher and the client of one worker, each opened on first use. One event loop."""

    def __init__(
        self, make_publisher: Callable[[], Publisher], make_client: Callable[[], Client]
    ) -> None:
        self._make_publisher = make_publisher
        self._make_client = make_client
        self._publisher: asyncio.Task[Publisher] | None = None
        self._client: asyncio.Task[Client] | None = None

    async def send(self, envelope: Envelope) -> None:
        """Returns when it is on the log; raises as a publisher does."""
        if self._publisher is None or _failed(self._publisher):
            self._publisher = asyncio.create_task(self._make_publisher().__aenter__())
        publisher = await asyncio.shield(self._publisher)
        await publisher.publish(envelope)

    async def request(
        self, to: str, payload: Envelope | Mapping[str, Any], timeout_s: float
    ) -> Answer:
        """Returns the answer; raises as a client does."""
        if self._client is None or _failed(self._client):
            self._client = asyncio.create_task(self._make_client().__aenter__())
        client = await asyncio.shield(self._client)
        return await client.request(to, payload, timeout_s=timeout_s)

    async def close(self) -> None:
        """Let go of what was opened."""
        for opening in (self._client, self._publisher):
            if opening is not None:
                await asyncio.wait({opening})
                if not _failed(opening):
                    await opening.result().__aexit__(None, None, None)


def _failed(opening: asyncio.Task[Any]) -> bool:
    return opening.done() and (opening.cancelled() or opening.exception() is not None)
