"""A compacted topic as a table in memory: aiokafka, by assignment, in no group.

It is read to its end when it opens, and followed from then on: what somebody puts there is known
here as soon as its record is fetched, milliseconds later. While the broker is away, what was heard
last holds. A reader that can read no further is replaced by one that begins anew, with a new table:
until that is whole, the old one is shown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from streams.errors import BrokerError
from streams.kafka.configs import TAIL
from streams.kafka.positioned import assign, close, count_partitions, fetch, open_at, record_of
from streams.record import Record
from streams.topics import Namespace

CATCH_UP_S_MAX: Final = 30.0
"""Seconds for reading to the end; what is just being written is waited for."""
POLL_MS: Final = 100
RETRY_S: Final = 1.0
"""Between two attempts to begin anew."""

READER: Final[Mapping[str, Any]] = {
    **TAIL,
    "auto_offset_reset": "earliest",  # compacted or made anew: all that is there is to be heard
    "fetch_max_wait_ms": 2_000,  # the broker answers with the first record; idle costs next to nil
}

_log: Final = logging.getLogger("agentlog.compacted")


class Table(Protocol):
    """What a compacted topic says."""

    def hear(self, key: str, record: Record) -> None:
        """The latest record of this key, in the order of the log; a tombstone has no value."""
        ...


T = TypeVar("T", bound=Table)


class CompactedTopic(Generic[T]):
    """One topic of one partition, followed. For one event loop."""

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: Namespace,
        topic: str,
        make_table: Callable[[], T],
        *,
        config: Mapping[str, Any] = READER,
    ) -> None:
        """`topic` is a logical name."""
        self.table = make_table()
        """As far as it was read; another object once it had to be read anew."""
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._source = TopicPartition(namespace.topic(topic), 0)
        self._make_table = make_table
        self._config = config
        self._following: asyncio.Task[None] | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._heard = asyncio.Event()
        """Set, and replaced, whenever something was fetched."""
        self._position = 0

    async def start(self) -> None:
        """Read what is there; what was put there before this is known when it returns.

        Raises `BrokerError` if no broker answers, `LogError` if there is no such topic.
        """
        consumer = await self._open()
        self._following = asyncio.create_task(self._follow(consumer), name=self._source.topic)

    async def close(self) -> None:
        """Follow no further; what was heard stays known. Twice does no harm."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait({following})

    async def catch_up(self, timeout_s: float = CATCH_UP_S_MAX) -> None:
        """Return when all that is there now is known here; else raise `BrokerError`."""
        try:
            async with asyncio.timeout(timeout_s):
                end = await self._end()
                while self._position < end:
                    await self._heard.wait()
        except (KafkaError, TimeoutError) as error:
            raise self._unread(error) from error

    async def _end(self) -> int:
        while self._consumer is None:
            await self._heard.wait()
        ends = await self._consumer.end_offsets([self._source])
        return int(ends[self._source])

    # --- reading -----------------------------------------------------------------------------

    async def _open(self) -> AIOKafkaConsumer:
        """A consumer that has read the topic to its end, into a table that counts from then."""
        consumer = await open_at(self._servers, self._config, {})
        try:
            await count_partitions(consumer, self._source.topic, self._namespace)
            async with asyncio.timeout(CATCH_UP_S_MAX):
                starts = await consumer.beginning_offsets([self._source])
                ends = await consumer.end_offsets([self._source])
                assign(consumer, starts)
                table = self._make_table()
                while await consumer.position(self._source) < ends[self._source]:
                    await self._hear(consumer, table)
        except (KafkaError, TimeoutError) as error:
            await close(consumer)
            raise self._unread(error) from error
        except BaseException:
            await close(consumer)
            raise
        self.table = table
        await self._passed(consumer)
        return consumer

    async def _follow(self, consumer: AIOKafkaConsumer | None) -> None:
        while True:
            try:
                consumer = self._consumer = consumer or await self._open()
                while True:
                    await self._hear(consumer, self.table)
                    await self._passed(consumer)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, another reader may read on
                _log.warning(
                    "%s: what was heard last holds, for now: %r", self._source.topic, error
                )
            finally:
                self._consumer = None
                if consumer is not None:
                    await close(consumer)
                    consumer = None
            await asyncio.sleep(RETRY_S)

    @staticmethod
    async def _hear(consumer: AIOKafkaConsumer, table: Table) -> None:
        for message in await fetch(consumer, POLL_MS):
            table.hear((message.key or b"").decode(errors="replace"), record_of(message))

    async def _passed(self, consumer: AIOKafkaConsumer) -> None:
        """Whoever waits for a position looks again."""
        self._position = await consumer.position(self._source)
        self._heard.set()
        self._heard = asyncio.Event()

    def _unread(self, error: Exception) -> BrokerError:
        return BrokerError(f"cannot read {self._source.topic} at {self._servers}: {error!r}")
