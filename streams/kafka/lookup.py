"""Single records by position: few, from anywhere on the log, soon.

The bulk reader fetches ahead as far as it may, which is what a fold wants; here nothing behind the
record is wanted. One consumer is kept warm, fetches little, and reads all partitions at once: what
is asked of one partition is taken in order, by reading on where the next is near, else by a seek
(measured: a record 1 ms, 20 from anywhere 12 ms, 20 far apart on one partition 18 ms).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.errors import BrokerError, LogError
from streams.kafka.batches import record_of
from streams.kafka.configs import SILENT
from streams.kafka.fetch_errors import END, GONE, PASSING
from streams.record import Partition, Place, Record

SILENCE_S_MAX: Final = 30.0
"""Seconds without an answer after which the broker counts as silent."""
NEAR_POSITIONS: Final = 200
"""How far ahead a position is read on to instead of sought."""

_POLL_S: Final = 0.2
_MESSAGES_MAX: Final = 500
_CONSUMER: Final[Mapping[str, Any]] = {
    "group.id": "agentlog-lookup",  # the client insists; assign and no commit make no member
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "fetch.wait.max.ms": 5,
    "fetch.message.max.bytes": 16_384,  # a batch comes whole all the same
    # All partitions share the queue: at a low mark one of them would keep the others from being
    # fetched (measured: 20 records anywhere took 1,000 ms, and take 12).
    "queued.min.messages": 100_000,
    "check.crcs": True,
}


class KafkaLookup:
    """Reads records by position. One `at` at a time; others wait."""

    def __init__(self, bootstrap_servers: str, *, silence_s_max: float = SILENCE_S_MAX) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._silence_s_max = silence_s_max
        self._consumer: Consumer | None = None
        self._topics: set[str] = set()
        self._lock = threading.Lock()

    def at(self, places: Iterable[Place]) -> dict[Place, Record]:
        """The records there; what no committed record is at is left out.

        Raises `LogError` for a position that retention removed or the log never had, `BrokerError`
        if the broker does not answer.
        """
        wanted: dict[Partition, list[int]] = {}
        for source, position in sorted(set(places), reverse=True):
            wanted.setdefault(source, []).append(position)
        if not wanted:
            return {}
        with self._lock:
            consumer = self._warm(source.topic for source in wanted)
            try:
                found = self._read(consumer, wanted)
            except KafkaException as error:
                self.close()
                raise BrokerError(f"cannot read from {self.bootstrap_servers}: {error}") from error
            except BaseException:
                self.close()
                raise
        return found

    def close(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        self._topics.clear()
        if consumer is not None:
            consumer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _warm(self, topics: Iterable[str]) -> Consumer:
        """The consumer; it knows the leaders of these topics (asked, it finds them at once)."""
        if self._consumer is None:
            config = {**_CONSUMER, "bootstrap.servers": self.bootstrap_servers}
            self._consumer = Consumer(config, logger=SILENT)
        for topic in sorted(set(topics) - self._topics):
            self._consumer.list_topics(topic, self._silence_s_max)
            self._topics.add(topic)
        return self._consumer

    def _read(self, consumer: Consumer, wanted: dict[Partition, list[int]]) -> dict[Place, Record]:
        """Takes `wanted` (positions per partition, descending) down to nothing."""
        found: dict[Place, Record] = {}
        consumer.incremental_assign(
            [TopicPartition(*source, at[-1]) for source, at in wanted.items()]
        )
        heard_at = time.monotonic()
        while wanted:
            passed: dict[Partition, int] = {}
            for message in _come(consumer):
                source = Partition(message.topic() or "", message.partition() or 0)
                positions = wanted.get(source)
                if not positions or self._is_passing(message, source, positions):
                    continue
                heard_at = time.monotonic()
                at = message.offset() or 0
                if message.error() is None:
                    if at in positions[-1:]:
                        found[Place(source, at)] = record_of(message)
                    at += 1
                passed[source] = max(passed.get(source, 0), at)
                while positions and positions[-1] < at:
                    positions.pop()
            for source, at in passed.items():
                self._go_on(consumer, source, wanted, at)
            if time.monotonic() - heard_at > self._silence_s_max:
                raise BrokerError(
                    f"no answer from {self.bootstrap_servers} about {next(iter(wanted))} in "
                    f"{self._silence_s_max:g} s"
                )
        return found

    def _go_on(
        self, consumer: Consumer, source: Partition, wanted: dict[Partition, list[int]], at: int
    ) -> None:
        positions = wanted[source]
        if not positions:
            del wanted[source]
            consumer.incremental_unassign([TopicPartition(*source)])
        elif positions[-1] > at + NEAR_POSITIONS:
            consumer.seek(TopicPartition(*source, positions[-1]))

    def _is_passing(self, message: Message, source: Partition, positions: list[int]) -> bool:
        """Whether it is an error that ends by itself. Raises for one that does not."""
        error = message.error()
        if error is None or error.code() in PASSING:
            return error is not None
        wanted = positions[-1]
        beyond_end = error.code() == END and (message.offset() or 0) <= wanted
        if beyond_end or error.code() in GONE:
            raise LogError(
                f"{source} no longer has, or never had, position {wanted}: {error.str()}"
            )
        if error.code() != END:
            raise BrokerError(f"cannot read {source} at {wanted}: {error.str()}")
        return False


def _come(consumer: Consumer) -> list[Message]:
    """What has come; waits for the first alone: the client waits for all that it is asked for."""
    first = consumer.consume(1, _POLL_S)
    return [*first, *consumer.consume(_MESSAGES_MAX, 0)] if first else first
