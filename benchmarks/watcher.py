"""Watches a topic for outputs, and knows when each one's input was published.

An input and its output have the same key, which nothing else has.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.envelope import Envelope
from streams.kafka.publisher import Publisher

SERVED_S_MAX: Final = 60.0
"""How long the first output may take: a process starts, and joins its group."""
SEEN_S_MAX: Final = 60.0
"""How long the last output may take after the last input."""
PROBE_S: Final = 0.2


class Watcher:
    """Reads one topic from its end on, read-committed. Use it as `async with`."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._topic = topic
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers, isolation_level="read_committed"
        )
        self._published_s: dict[bytes, float] = {}
        self._seen_s: dict[bytes, float] = {}
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        partitions = self._consumer.partitions_for_topic(self._topic)
        if partitions is None:
            await self._consumer._client.force_metadata_update()  # noqa: SLF001
            partitions = self._consumer.partitions_for_topic(self._topic)
        self._consumer.assign([TopicPartition(self._topic, index) for index in partitions or ()])
        await self._consumer.seek_to_end()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._reading.cancel()
        await self._consumer.stop()

    async def publish(self, publisher: Publisher, envelope: Envelope, key: str) -> None:
        """Publish it under this key, from now."""
        self._published_s[key.encode()] = time.perf_counter()
        await publisher.publish(envelope.with_(correlation_id=key))

    async def until_served(self, publisher: Publisher, envelope: Envelope) -> None:
        """Publish this again and again until an output comes: then somebody is at work."""
        number = 0
        async with asyncio.timeout(SERVED_S_MAX):
            while not self._seen_s:
                await self.publish(
                    publisher, envelope.with_(id=_probe_id(envelope, number)), f"probe-{number}"
                )
                number += 1
                await asyncio.sleep(PROBE_S)
        await self.until_all_seen()

    async def until_all_seen(self) -> None:
        """Wait for the outputs of all that was published."""
        async with asyncio.timeout(SEEN_S_MAX):
            while len(self._seen_s) < len(self._published_s):
                self._news.clear()
                await self._news.wait()

    def latency_ms(self, key: str) -> float:
        """From publish to seen."""
        return (self._seen_s[key.encode()] - self._published_s[key.encode()]) * 1000

    async def _read(self) -> None:
        async for record in self._consumer:
            self._seen_s.setdefault(record.key, time.perf_counter())
            self._news.set()


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed (nearest rank)."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _probe_id(envelope: Envelope, number: int) -> str:
    return f"{envelope.id[:-9]}p{number:08d}"
