"""publish: our publisher against bare aiokafka that encodes and sends the same records.

Same settings (idempotent, acks=all, lz4, linger, batch size), same partitioner, and, as the bench
checks by reading both back, the same keys, values and headers in the same order on every
partition. Beside it: aiokafka with ready bytes and no headers, and kafka-producer-perf-test.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaProducer

from benchmarks.figures import Results, at_least, ratio
from benchmarks.history import history
from benchmarks.perf_tools import producer_perf_test
from benchmarks.plain import PlainMessage, plain_message, plain_schemas
from benchmarks.rounds import Contender, Run, alternate
from benchmarks.stage import Stage, open_codec
from streams.envelope import Envelope
from streams.kafka.configs import BATCH_BYTES, LINGER_MS, PUBLISHER
from streams.kafka.publisher import Publisher
from streams.kafka.reader import KafkaLogReader
from streams.topics import SCHEMAS, TASKS, Namespace

CALLERS: Final = 500
"""Callers that await one record each, at a time."""
BAR: Final = 0.9

_AIOKAFKA: Final[dict[str, Any]] = {**PUBLISHER, "linger_ms": LINGER_MS}
_JAVA: Final = {
    "acks": "all",
    "enable.idempotence": "true",
    "compression.type": "lz4",
    "linger.ms": LINGER_MS,
    "batch.size": BATCH_BYTES,
}

T = TypeVar("T")


def bench(stage: Stage) -> Results:
    """Many records by one caller, and one record each by many callers."""
    with asyncio.Runner() as runner, stage.namespaces([TASKS, SCHEMAS], 3) as namespaces:
        return _bench(stage, runner, *namespaces)


def _bench(
    stage: Stage, runner: asyncio.Runner, ours: Namespace, theirs: Namespace, beside: Namespace
) -> Results:
    codec, servers = open_codec(), stage.bootstrap_servers
    envelopes = history(stage.size(40_000, 4_000))
    schemas = plain_schemas(codec.catalogue)
    messages = [plain_message(envelope, schemas) for envelope in envelopes]
    ready = [(message.key, message.value()) for message in messages]
    size = sum(len(value) for _, value in ready) // len(ready)

    publisher = Publisher(servers, ours, codec)
    producer = runner.run(_started(servers))
    runner.run(publisher.start())
    plain = _Plain(producer, theirs)
    raw_topic = beside.topic(TASKS)

    def timed(work: Callable[[], Awaitable[None]]) -> Run:
        return lambda: len(envelopes) / runner.run(_seconds(work()))

    try:
        runner.run(_publish_many(publisher, envelopes))
        runner.run(plain.send_many(messages))
        _require_same_log(servers, ours.topic(TASKS), theirs.topic(TASKS), len(envelopes))
        measured = alternate(
            stage,
            [
                Contender("publish_many", timed(lambda: _publish_many(publisher, envelopes))),
                Contender("aiokafka: encode, send", timed(lambda: plain.send_many(messages))),
                Contender("publish", timed(lambda: _publish_each(publisher, envelopes))),
                Contender(
                    "aiokafka: encode, send_and_wait", timed(lambda: plain.send_each(messages))
                ),
                Contender(
                    "aiokafka: ready bytes, no headers",
                    timed(lambda: _send_ready(producer, raw_topic, ready)),
                ),
                Contender(
                    "kafka-producer-perf-test",
                    lambda: producer_perf_test(
                        servers,
                        raw_topic,
                        records=stage.size(10, 1) * len(ready),
                        record_bytes=size,
                        settings=_JAVA,
                    ),
                ),
            ],
            stage.size(7, 2),
        )
    finally:
        runner.run(publisher.close())
        runner.run(producer.stop())
    many, plain_many, each, plain_each, raw, java = measured
    return Results(
        bench="publish",
        workload=f"{len(envelopes):,} envelopes of the history per round, {size} bytes each on "
        f"average, ten headers, 8 partitions, idempotent, acks=all, lz4, linger "
        f"{LINGER_MS} ms, batches of {BATCH_BYTES // 1024} KiB; all by one caller, "
        f"or one each by {CALLERS} callers at a time. Both logs were read back and found equal: "
        "keys, values, headers, order.",
        measured=measured,
        figures=[
            ratio(
                "publish_many over aiokafka that encodes and sends the same records",
                many,
                plain_many,
                bar=at_least(BAR),
            ),
            ratio(
                "publish over aiokafka that encodes, sends and awaits the same records",
                each,
                plain_each,
                bar=at_least(BAR),
            ),
            ratio("publish_many over aiokafka with ready bytes and no headers", many, raw),
            ratio(
                "publish_many over kafka-producer-perf-test (random bytes, no headers)", many, java
            ),
        ],
    )


async def _publish_many(publisher: Publisher, envelopes: Sequence[Envelope]) -> None:
    await publisher.publish_many(envelopes)


async def _publish_each(publisher: Publisher, envelopes: Sequence[Envelope]) -> None:
    for chunk in _chunks(envelopes, CALLERS):
        await asyncio.gather(*map(publisher.publish, chunk))


class _Plain:
    """Bare aiokafka, as one would use it for the same records."""

    def __init__(self, producer: AIOKafkaProducer, namespace: Namespace) -> None:
        self._producer = producer
        self._topics = {TASKS: namespace.topic(TASKS)}

    async def send_many(self, messages: Sequence[PlainMessage]) -> None:
        send, topics = self._producer.send, self._topics
        sent = [
            await send(topics[it.topic], key=it.key, value=it.value(), headers=it.headers())
            for it in messages
        ]
        await _all(sent)

    async def send_each(self, messages: Sequence[PlainMessage]) -> None:
        for chunk in _chunks(messages, CALLERS):
            await asyncio.gather(*map(self._send_one, chunk))

    async def _send_one(self, message: PlainMessage) -> None:
        await self._producer.send_and_wait(
            self._topics[message.topic],
            key=message.key,
            value=message.value(),
            headers=message.headers(),
        )


async def _send_ready(
    producer: AIOKafkaProducer, topic: str, ready: Sequence[tuple[bytes, bytes]]
) -> None:
    sent = [await producer.send(topic, key=key, value=value) for key, value in ready]
    await _all(sent)


async def _all(sent: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for each; most are done by then, and a gather of as many would cost far more."""
    for future in sent:
        await future


async def _started(bootstrap_servers: str) -> AIOKafkaProducer:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, **_AIOKAFKA)
    await producer.start()
    return producer


async def _seconds(work: Awaitable[None]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _require_same_log(bootstrap_servers: str, one: str, other: str, records: int) -> None:
    with KafkaLogReader(bootstrap_servers) as reader:
        logs = [_log(reader, topic) for topic in (one, other)]
    if sum(map(len, logs[0])) != records or logs[0] != logs[1]:
        raise AssertionError(f"{one} and {other} do not hold the same {records} records")


def _log(reader: KafkaLogReader, topic: str) -> list[list[tuple[Any, ...]]]:
    """Key, value and headers of every record, by partition."""
    return [
        [
            (record.key, record.value, record.headers)
            for batch in reader.read(source, 0, end)
            for record in batch
        ]
        for source, end in reader.ends([topic])
    ]
