"""An aiokafka consumer that reads on from given positions, by assignment, in no group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from streams.errors import BrokerError, LogError
from streams.record import Partition, Record
from streams.topics import Namespace

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 5.0
METADATA_TIMEOUT_S: Final = 2.0
"""Seconds in which a topic that was just created may become known to the broker asked."""
BATCH_MAX: Final = 500
"""Records taken at a time, before other tasks get their turn."""

_ASK_AGAIN_S: Final = 0.1


async def open_at(
    bootstrap_servers: str, config: Mapping[str, Any], positions: Mapping[Partition, int]
) -> AIOKafkaConsumer:
    """A started consumer of these partitions, at these positions. End it with `close`.

    Raises `BrokerError` if no broker answers within 30 s.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, **config)
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await consumer.start()
    except (KafkaError, TimeoutError, OSError) as error:
        await close(consumer)
        raise BrokerError(
            f"no Kafka answers at {bootstrap_servers}: {error or 'timed out'}; is it running?"
        ) from error
    except BaseException:
        await close(consumer)
        raise
    assign(consumer, {TopicPartition(*source): at for source, at in positions.items()})
    return consumer


def assign(consumer: AIOKafkaConsumer, positions: Mapping[TopicPartition, int]) -> None:
    """Read these partitions and no others, each from its position on."""
    consumer.assign(list(positions))
    for part, position in positions.items():
        consumer.seek(part, position)


async def count_partitions(consumer: AIOKafkaConsumer, topic: str, namespace: Namespace) -> int:
    """How many partitions a topic has, by its full name. Raises `LogError` if there is none."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + METADATA_TIMEOUT_S
    while True:
        # For all topics: asking for one by name would create it where brokers allow that.
        cluster = await consumer._client.fetch_all_metadata()  # noqa: SLF001 - no public way
        if found := cluster.partitions_for_topic(topic):
            return len(found)
        if loop.time() > give_up_at:
            raise LogError(
                f"topic {topic} does not exist; run `agentlog topics apply` with "
                f"AGENTLOG_NAMESPACE={namespace.name}"
            )
        await asyncio.sleep(_ASK_AGAIN_S)


async def fetch(consumer: AIOKafkaConsumer, poll_ms: int) -> list[ConsumerRecord[Any, Any]]:
    """What has come, at most `BATCH_MAX` records; waits up to `poll_ms` for the first of them.

    Raises `BrokerError` if nothing more can come, however long one waits.
    """
    found = await consumer.getmany(timeout_ms=poll_ms, max_records=BATCH_MAX)
    # aiokafka fetches in a task of its own. Should that end, however it does, it tells nobody.
    fetching = consumer._fetcher.error_future  # noqa: SLF001 - no public way
    if fetching.done() and not found:
        error = None if fetching.cancelled() else fetching.exception()
        raise BrokerError(f"the client has stopped fetching: {error!r}") from error
    return [message for messages in found.values() for message in messages]


async def close(consumer: AIOKafkaConsumer) -> None:
    """Disconnect, even from a broker that has gone."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await consumer.stop()
    except (KafkaError, TimeoutError):
        await consumer._client.close()  # noqa: SLF001 - no public way to go on from here
    except asyncio.CancelledError:
        await consumer._client.close()  # noqa: SLF001
        # aiokafka raises this of itself if a fetch was just waiting to be tried again.
        if task is None or task.cancelling() > before:
            raise


def record_of(message: ConsumerRecord[Any, Any]) -> Record:
    """What aiokafka read, as the record that it is."""
    return Record(
        topic=message.topic,
        partition=message.partition,
        position=message.offset,
        appended_at_ms=message.timestamp,
        key=message.key,
        value=message.value,
        headers=tuple(message.headers),
    )
