"""One partition's way out: records into batches, batches to the broker, in order.

Theory of operation. A batch is *open* while it takes records, then *sealed* (full, or its turn has
come), then *outstanding* until the broker has answered. Records of one key share a partition, and
batches of one partition leave in the order they were opened, so order per key holds.

A part-filled batch leaves only when none of its partition is outstanding: under load batches fill
themselves while the one before travels; without load a record waits no longer than the linger.
Batches are aiokafka's (`create_batch`, `send_batch`): one future per batch instead of one per
record is what makes the publisher faster than `AIOKafkaProducer.send`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from streams.headers import Header
from streams.record import Partition


class Batch:
    """Records that leave together. `base` resolves to the position of the first of them.

    `base` fails with what Kafka said, or `TimeoutError` where it said nothing in time.
    """

    __slots__ = ("_waiters", "base", "builder", "count", "deadline", "partition", "size")

    def __init__(self, builder: Any, partition: Partition, base: asyncio.Future[int]) -> None:
        self.builder = builder
        self.partition = partition
        self.base = base
        self.count = 0
        self.size = 0
        """Bytes of its records' values, uncompressed."""
        self.deadline: asyncio.TimerHandle | None = None
        self._waiters: list[tuple[asyncio.Future[int], int]] = []

    def append(self, key: bytes, value: bytes, headers: list[Header]) -> int | None:
        """Take a record; its place in the batch, or None if the batch is full."""
        if self.builder.append(timestamp=None, key=key, value=value, headers=headers) is None:
            return None
        index = self.count
        self.count = index + 1
        self.size += len(value)
        return index

    def waiter(self, index: int, loop: asyncio.AbstractEventLoop) -> asyncio.Future[int]:
        """A future for one record's position, which its caller may cancel."""
        future = loop.create_future()
        self._waiters.append((future, index))
        return future

    def resolve(self, base: int) -> None:
        """The broker has written it, the first record at `base`."""
        if not self.base.done():
            self.base.set_result(base)
        for future, index in self._waiters:
            if not future.done():
                future.set_result(base + index)

    def fail(self, error: BaseException) -> None:
        """It was not written, or nobody can say whether it was."""
        if not self.base.done():
            self.base.set_exception(error)
            self.base.exception()  # whoever waits hears it; nobody has to wait
        for future, _ in self._waiters:
            if not future.done():
                future.set_exception(error)


class PartitionQueue:
    """The open batch of one partition and those on their way."""

    def __init__(
        self,
        producer: AIOKafkaProducer,
        partition: Partition,
        *,
        linger_s: float,
        delivery_timeout_s: float,
        on_settled: Callable[[int, int], None],
    ) -> None:
        self._producer = producer
        self._partition = partition
        self._linger_s = linger_s
        self._delivery_timeout_s = delivery_timeout_s
        self._on_settled = on_settled
        self._loop = asyncio.get_running_loop()
        self._open: Batch | None = None
        self._sealed: deque[Batch] = deque()
        self._outstanding: asyncio.Future[Any] | None = None
        self._sender: asyncio.Task[None] | None = None
        self._woken: asyncio.Future[None] | None = None
        self._hurry = False

    def append(self, key: bytes, value: bytes, headers: list[Header]) -> tuple[Batch, int]:
        """Take a record: the batch that it is in, and its place there."""
        batch = self._open
        if batch is not None:
            # Past its deadline a batch has failed: who joined it then would never hear of it.
            index = None if batch.base.done() else batch.append(key, value, headers)
            if index is not None:
                return batch, index
            self._sealed.append(batch)
            self._wake()
        batch = self._opened()
        index = batch.append(key, value, headers)
        assert index is not None  # an empty batch takes a record of any size
        return batch, index

    def hurry(self) -> None:
        """Do not linger any more: the publisher is closing."""
        self._hurry = True
        self._wake()

    def abandon(self) -> None:
        """Give up what was not acknowledged: the publisher has closed."""
        if self._sender is not None:
            self._sender.cancel()
        for batch in (*self._sealed, self._open):
            if batch is not None:
                batch.fail(TimeoutError("the publisher was closed before it was sent"))
        self._sealed.clear()
        self._open = None

    def _opened(self) -> Batch:
        batch = Batch(self._producer.create_batch(), self._partition, self._loop.create_future())
        batch.deadline = self._loop.call_later(
            self._delivery_timeout_s, batch.fail, TimeoutError("not acknowledged in time")
        )
        self._open = batch
        if self._sender is None:
            self._sender = self._loop.create_task(self._send_all())
        return batch

    async def _send_all(self) -> None:
        """Send what there is, then end. One task per burst, not one per record."""
        try:
            while (batch := await self._next()) is not None:
                await self._send(batch)
        finally:
            self._sender = None

    async def _next(self) -> Batch | None:
        """The next batch that should leave; None when there is none."""
        if not self._sealed and self._outstanding is None and self._open is not None:
            await self._wait(timeout_s=0 if self._hurry else self._linger_s)
        while not self._sealed and self._outstanding is not None:
            await self._wait(self._outstanding)
        if self._sealed:
            return self._sealed.popleft()
        batch, self._open = self._open, None
        return batch

    async def _wait(self, *others: asyncio.Future[Any], timeout_s: float | None = None) -> None:
        """Wait for one of these, or until a batch is full or the publisher closes."""
        self._woken = self._loop.create_future()
        await asyncio.wait(
            [self._woken, *others], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )

    def _wake(self) -> None:
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def _send(self, batch: Batch) -> None:
        batch.builder.close()
        while not batch.base.done():
            try:
                delivery = await self._producer.send_batch(
                    batch.builder, self._partition.topic, partition=self._partition.index
                )
            except KafkaTimeoutError:
                continue  # the batch before it has not left yet; the batch's deadline decides
            except KafkaError as error:
                batch.fail(error)
            else:
                self._outstanding = delivery
                delivery.add_done_callback(lambda done: self._settle(batch, done))
                return
        self._settled(batch)

    def _settle(self, batch: Batch, delivery: asyncio.Future[Any]) -> None:
        if self._outstanding is delivery:
            self._outstanding = None
        if delivery.cancelled():
            batch.fail(TimeoutError("the publisher was closed before it was acknowledged"))
        elif (error := delivery.exception()) is not None:
            batch.fail(error)
        else:
            batch.resolve(delivery.result().offset)
        self._settled(batch)

    def _settled(self, batch: Batch) -> None:
        if batch.deadline is not None:
            batch.deadline.cancel()
        batch.builder = None  # who still waits for its places needs no bytes
        self._on_settled(batch.count, batch.size)


def is_retriable(error: BaseException) -> bool:
    """Whether a later try may succeed."""
    return isinstance(error, TimeoutError) or bool(getattr(error, "retriable", False))
