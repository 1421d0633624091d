"""What a worker's handlers send at once, on the log in memory."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, cast

from streams.answers import Answer
from streams.client import Client
from streams.envelope import Envelope
from streams.kafka.publisher import Publisher
from streams.kafka.replies import ReplyInbox
from streams.memory import MemoryLog, MemoryPublisher, MemoryReplyInbox
from streams.schemas import Codec
from streams.topics import Namespace


def memory_client(
    log: MemoryLog, namespace: Namespace, codec: Codec, *, sender: str, instance: str, seed: int = 0
) -> Client:
    """A client of requests on a `MemoryLog`; `instance` names its reply inbox."""
    publisher = MemoryPublisher(log, namespace, codec, sender=sender, seed=seed)
    inbox = MemoryReplyInbox(log, namespace, codec, instance)
    return Client(
        cast(Publisher, publisher),
        cast(ReplyInbox, inbox),
        clock=log.clock,
        rng=random.Random(seed),
    )


class MemorySending:
    """The way around the transaction for one worker; `require_alive` raises once it is dead."""

    def __init__(
        self,
        publisher: MemoryPublisher,
        make_client: Callable[[], Client],
        require_alive: Callable[[], None],
    ) -> None:
        self._publisher = publisher
        self._make_client = make_client
        self._client: Client | None = None
        self._require_alive = require_alive

    async def send(self, envelope: Envelope) -> None:
        """Put a stamped envelope on the log."""
        self._require_alive()
        await self._publisher.publish(envelope)

    async def request(
        self, to: str, payload: Envelope | Mapping[str, Any], timeout_s: float
    ) -> Answer:
        """Ask an agent, and wait for its answer."""
        self._require_alive()
        if self._client is None:
            self._client = self._make_client()
            await self._client.__aenter__()
        return await self._client.request(to, payload, timeout_s=timeout_s)

    async def close(self) -> None:
        """Let go of what was opened."""
        if self._client is not None:
            await self._client.close()
