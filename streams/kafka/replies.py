"""The reply inbox: what is answered to one process. aiokafka, by assignment, in no group.

Answers are keyed by the inbox's name, so all of them are on one partition of `replies`, which other
inboxes share. It is read committed (answers come out of transactions) from its end as it was when
the inbox opened, and what is keyed for others is dropped before it is decoded. While the broker is
away the position stays where it is, and nothing is missed.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from streams.envelope import Envelope
from streams.errors import AgentlogError, BrokerError, DecodeError, LogError
from streams.kafka.configs import TAIL
from streams.kafka.positioned import assign, close, count_partitions, fetch, open_at
from streams.schemas import Codec
from streams.topics import REPLIES, Namespace
from streams.topics.partitioning import partition_for

END_TIMEOUT_S: Final = 30.0
"""Seconds for the broker to say where its partition ends."""
POLL_MS: Final = 500

REPLIES_READER: Final[Mapping[str, Any]] = {
    **TAIL,
    "metadata_max_age_ms": 30_000,  # so that further partitions are seen soon
}
"""aiokafka's consumer by assignment, for reply inboxes."""

_log: Final = logging.getLogger("agentlog.replies")


class ReplyListener(Protocol):
    """Who opened an inbox. Called on its event loop; must not raise."""

    def on_reply(self, envelope: Envelope, size: int) -> None:
        """An envelope for this inbox, in the order of the log; `size` is its value's bytes."""
        ...

    def on_inbox_lost(self, error: AgentlogError) -> None:
        """Nothing more will come: the log is not what it was, or must not be read."""
        ...


def new_instance_name(sender: str) -> str:
    """A name for one process run that no other has."""
    return f"{sender or 'client'}-{uuid.uuid4().hex}"


class ReplyInbox:
    """What comes for `name`, the `reply_to` of requests."""

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: Namespace,
        codec: Codec,
        name: str,
        *,
        config: Mapping[str, Any] = REPLIES_READER,
    ) -> None:
        self.name = name
        self.undecodable = 0
        """Records for this inbox that nobody here can read."""
        self._key = name.encode()
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._topic = namespace.topic(REPLIES)
        self._codec = codec
        self._config = config
        self._partitions = 0
        self._consumer: AIOKafkaConsumer | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self, listener: ReplyListener) -> None:
        """Read on from the end: what is sent after this returns will be heard.

        Raises `BrokerError` if no broker answers, `LogError` if there is no topic `replies`.
        """
        consumer = await open_at(self._servers, self._config, {})
        try:
            self._partitions = await count_partitions(consumer, self._topic, self._namespace)
            mine = self._mine(self._partitions)
            async with asyncio.timeout(END_TIMEOUT_S):
                ends = await consumer.end_offsets([mine])
            assign(consumer, ends)
        except (KafkaError, TimeoutError) as error:
            await close(consumer)
            raise BrokerError(
                f"cannot read {self._topic} at {self._servers}: {error or 'timed out'!r}"
            ) from error
        except BaseException:
            await close(consumer)
            raise
        self._consumer = consumer
        self._reading = asyncio.create_task(self._read(consumer, listener))

    async def close(self) -> None:
        """Read no more. Twice does no harm."""
        reading, self._reading = self._reading, None
        consumer, self._consumer = self._consumer, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait({reading})
        if consumer is not None:
            await close(consumer)

    @property
    def partitions(self) -> frozenset[int]:
        """The partitions of `replies` that it reads: one, unless the topic has grown."""
        if self._consumer is None:
            return frozenset()
        return frozenset(part.partition for part in self._consumer.assignment())

    def _mine(self, partitions: int) -> TopicPartition:
        return TopicPartition(self._topic, partition_for(self._key, partitions))

    async def _read(self, consumer: AIOKafkaConsumer, listener: ReplyListener) -> None:
        try:
            while True:
                for message in await fetch(consumer, POLL_MS):
                    if message.key == self._key:
                        self._hand_on(message, listener)
                await self._follow_growth(consumer)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            lost = LogError(
                f"the reply inbox {self.name} cannot go on reading {self._topic}: {error!r}; "
                "ask again"
            )
            _log.warning("%s", lost)
            listener.on_inbox_lost(lost)

    def _hand_on(self, message: ConsumerRecord[Any, Any], listener: ReplyListener) -> None:
        try:
            envelope = self._codec.decode(message.value, message.headers)
        except (DecodeError, BrokerError) as error:  # the second: where its schema is looked up
            self.undecodable += 1
            _log.warning("%s: a reply cannot be read: %s", self.name, error)
            return
        listener.on_reply(envelope, len(message.value or b""))

    async def _follow_growth(self, consumer: AIOKafkaConsumer) -> None:
        """Where the topic was given more partitions, the key may have moved: read both, the new
        one from its beginning.
        """
        count = len(consumer.partitions_for_topic(self._topic) or ())
        if count <= self._partitions:
            return
        mine = self._mine(count)
        assigned = consumer.assignment()
        if mine not in assigned:
            try:
                starts = await consumer.beginning_offsets([mine])
            except KafkaError as error:
                if not error.retriable:
                    raise
                return  # the broker is away: with the next records
            positions = {part: await consumer.position(part) for part in assigned}
            assign(consumer, {**positions, **starts})
        self._partitions = count
