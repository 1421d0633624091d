"""A partition's way out, without a broker: what becomes of a batch when no answer comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from streams.kafka.partition_queue import PartitionQueue
from streams.record import Partition


class EndlessBatch:
    """A batch builder that is never full."""

    def append(self, **_: Any) -> object:
        return self

    def close(self) -> None:
        """Nothing to build."""


class SilentProducer:
    """Takes batches, and answers when the test does."""

    def __init__(self) -> None:
        self.sent: list[asyncio.Future[Any]] = []

    def create_batch(self) -> EndlessBatch:
        return EndlessBatch()

    async def send_batch(self, batch: object, topic: str, *, partition: int) -> asyncio.Future[Any]:
        del batch, topic, partition
        self.sent.append(asyncio.get_running_loop().create_future())
        return self.sent[-1]


class Written:
    offset = 7


async def test_a_batch_past_its_deadline_takes_nothing_more() -> None:
    """Whoever joined it would wait for ever: its waiters have been told already."""
    producer, settled = SilentProducer(), 0

    def on_settled(count: int, _size: int) -> None:
        nonlocal settled
        settled += count

    loop = asyncio.get_running_loop()
    queue = PartitionQueue(
        producer,
        Partition("t", 0),
        linger_s=0,
        delivery_timeout_s=0.05,
        on_settled=on_settled,
    )
    async with asyncio.timeout(20):
        first, _ = queue.append(b"k", b"1", [])
        while not producer.sent:  # noqa: ASYNC110  # nothing announces it
            await asyncio.sleep(0)
        second, index = queue.append(b"k", b"2", [])  # open: the first is outstanding
        with pytest.raises(TimeoutError):
            await second.waiter(index, loop)
        third, index = queue.append(b"k", b"3", [])
        assert third is not second
        waiter = third.waiter(index, loop)
        producer.sent[0].set_result(Written)
        while len(producer.sent) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        producer.sent[1].set_result(Written)
        assert await waiter == 7
        assert first.base.done()
        assert settled == 3
