"""An aiokafka consumer that reads on from given positions, by assignment, in no group."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from streams.errors import BrokerError
from streams.record import Partition, Record

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 5.0


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
    consumer.assign([TopicPartition(*source) for source in positions])
    for source, position in positions.items():
        consumer.seek(TopicPartition(*source), position)
    return consumer


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
