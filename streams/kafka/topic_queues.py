"""One topic's partition queues, and which of them a key belongs to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aiokafka import AIOKafkaProducer

from streams.kafka.partition_queue import PartitionQueue
from streams.topics.partitioning import partition_for

KEYS_MAX: Final = 65_536
"""Keys whose partition is remembered, per topic; then the memory starts anew."""
METADATA_TIMEOUT_S: Final = 2.0
"""Seconds in which a topic that was just created may become known to the broker asked."""

_POLL_S: Final = 0.05


class TopicQueues:
    """The queues of a topic's partitions, in order. Grows when the topic does."""

    __slots__ = ("_by_key", "_make", "queues")

    def __init__(self, partitions: int, make: Callable[[int], PartitionQueue]) -> None:
        self._make = make
        self._by_key: dict[bytes, PartitionQueue] = {}
        self.queues = [make(index) for index in range(partitions)]

    def queue(self, key: bytes) -> PartitionQueue:
        """Where this key's records go."""
        found = self._by_key.get(key)
        if found is None:
            if len(self._by_key) >= KEYS_MAX:
                self._by_key.clear()
            found = self._by_key[key] = self.queues[partition_for(key, len(self.queues))]
        return found

    def grow(self, partitions: int) -> None:
        """The topic has this many partitions now: keys move, as they do for every other client."""
        if partitions > len(self.queues):
            self.queues += [self._make(index) for index in range(len(self.queues), partitions)]
            self._by_key.clear()


async def count_partitions(producer: AIOKafkaProducer, topic: str) -> int | None:
    """How many partitions a topic has; None if it does not exist.

    Asks for all topics: asking for one by name would create it where the broker allows that.
    """
    give_up_at_s = time.monotonic() + METADATA_TIMEOUT_S
    while topic not in (await producer.client.fetch_all_metadata()).topics():
        if time.monotonic() > give_up_at_s:
            return None
        await asyncio.sleep(_POLL_S)
    return len(await producer.partitions_for(topic))
