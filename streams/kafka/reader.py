"""Bulk bounded reads of the log: confluent-kafka, by assignment, in no group, read-committed.

Ends are LSOs from the admin client: on a read-committed consumer the watermarks would do too, but
only the admin client also knows topic ids. A partition is at its end when the *position* has
passed it; the last records may be transaction markers or aborted, which nobody ever sees.

One reader may be used by several threads; each running `read` has a consumer of its own, and idle
consumers (warm connections) are kept for the next.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from types import TracebackType
from typing import Any, Final, Self

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from streams.cuts import Cut
from streams.errors import BrokerError, LogError
from streams.kafka.batches import FetchedBatch
from streams.kafka.configs import ADMIN, SILENT
from streams.kafka.fetch_errors import END, GONE, MISSING, PASSING
from streams.record import Partition

SILENCE_S_MAX: Final = 30.0
"""Seconds without an answer or progress after which a broker counts as silent."""
SETTLE_S_MAX: Final = 60.0
"""Longest that open transactions are waited for; a worker's times out after 10 to 20 s."""
BATCH_RECORDS_MAX: Final = 10_000
"""Records in one batch."""
QUEUED_KBYTES_MAX: Final = 131_072
"""Fetched ahead of the fold, per running read, in KiB."""
IDLE_CONSUMERS_MAX: Final = 4
"""Consumers kept warm between reads."""

_POLL_S: Final = 0.2
_FILL_S: Final = 0.005
"""How long a batch that has begun waits to be filled: the client waits for all that it is asked
for, and most partitions hold less than a full batch."""
_BULK: Final[Mapping[str, Any]] = {
    "group.id": "agentlog-reader",  # the client insists; assign and no commit make no member
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    "queued.min.messages": 1_000_000,
    "queued.max.messages.kbytes": QUEUED_KBYTES_MAX,
    # The next read waits for the last fetch of the one before, which has nothing to wait for.
    "fetch.wait.max.ms": 5,
    "check.crcs": True,
}
# A broker that just started, or an election: the next answer is another one.
_MOVING: Final = frozenset(
    {
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
    }
)
_ASK_AGAIN_S: Final = 0.1


class KafkaLogReader:
    """`LogReader` over Kafka, which also finds positions by append time.

    `silence_s_max` bounds, in seconds, every wait for the broker; past it: `BrokerError`.
    """

    def __init__(self, bootstrap_servers: str, *, silence_s_max: float = SILENCE_S_MAX) -> None:
        self.bootstrap_servers = bootstrap_servers
        self._silence_s_max = silence_s_max
        self._last_error = ""
        # Held for the reader's life: a collected AdminClient cancels its futures.
        config: dict[str, Any] = {
            **ADMIN,
            "bootstrap.servers": bootstrap_servers,
            "error_cb": self._on_error,
            "logger": SILENT,
        }
        self._admin = AdminClient(config)
        self._idle: deque[Consumer] = deque()

    def ends(self, topics: Iterable[str]) -> Cut:
        """The LSO of every partition of these topics, as of now."""
        topic_ids, partitions = self._described(topics)
        ends = self._positions(partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return Cut(cluster_id=self._cluster_id(), topic_ids=topic_ids, ends=ends)

    def appended_end(self, source: Partition) -> int:
        """The end of one partition as of now, records of open transactions included."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        return self._positions([source], latest, IsolationLevel.READ_UNCOMMITTED)[source]

    def await_settled(self, topics: Iterable[str]) -> None:
        """Return once every transaction that is open on these topics now has ended.

        Whoever died in one holds the end of its partitions back until the broker times it out.
        Raises `BrokerError` after `SETTLE_S_MAX`.
        """
        _, partitions = self._described(topics)
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        appended = self._positions(partitions, latest, IsolationLevel.READ_UNCOMMITTED)
        deadline = time.monotonic() + SETTLE_S_MAX
        while open_ones := [
            part
            for part, end in self._positions(partitions, latest).items()
            if end < appended[part]
        ]:
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"a transaction is open on {open_ones[0]} for longer than {SETTLE_S_MAX:g} s"
                )
            time.sleep(_ASK_AGAIN_S)

    def starts(self, topics: Iterable[str]) -> dict[Partition, int]:
        """The first position that each partition still has."""
        _, partitions = self._described(topics)
        return self._positions(partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]

    def ends_at(self, topics: Iterable[str], epoch_ms: int) -> Cut:
        """Each partition's first position whose record was appended after `epoch_ms`."""
        now = self.ends(topics)
        # Nothing was appended before the epoch, and Kafka gives negative times other meanings.
        after_ms = max(epoch_ms + 1, 0)
        found = self._positions(list(now.ends), OffsetSpec.for_timestamp(after_ms))
        ends = {
            part: min(end, found[part]) if found[part] >= 0 else end
            for part, end in now.ends.items()
        }
        return Cut(cluster_id=now.cluster_id, topic_ids=now.topic_ids, ends=ends)

    def read(self, source: Partition, start: int, end: int) -> Iterator[FetchedBatch]:
        """Batches of the visible records with start ≤ position < end, in order."""
        if start >= end:
            return
        consumer = self._idle.pop() if self._idle else self._consumer()
        try:
            consumer.assign([TopicPartition(source.topic, source.index, start)])
            # The client looks for the leaders of a topic that is new to it once a second; asked
            # for the topic, it finds them at once (measured: 0.95 s against 2 ms).
            consumer.list_topics(source.topic, self._silence_s_max)
            yield from self._read(consumer, source, start, end)
            consumer.unassign()
        except KafkaException as error:
            consumer.close()
            raise self._broker_error(f"cannot read {source}", error) from error
        except BaseException:
            consumer.close()
            raise
        self._keep(consumer)

    def close(self) -> None:
        """Close the idle consumers."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _read(
        self, consumer: Consumer, source: Partition, start: int, end: int
    ) -> Iterator[FetchedBatch]:
        position, heard_at = start, time.monotonic()
        while position < end:
            got = _batch(consumer)
            messages = [message for message in got if message.error() is None]
            passed = self._passed(consumer, source, position, got, messages)
            if passed > position:
                position, heard_at = passed, time.monotonic()
            elif time.monotonic() - heard_at > self._silence_s_max:
                raise BrokerError(
                    f"{source} stopped at {position} of {end}: no answer from "
                    f"{self.bootstrap_servers} in {self._silence_s_max:g} s. {self._last_error}"
                )
            if messages and _position(messages[-1]) >= end:
                messages = [message for message in messages if _position(message) < end]
            if messages:
                yield FetchedBatch(source, messages)
                heard_at = time.monotonic()  # the time that a fold takes is not the broker's

    def _passed(
        self,
        consumer: Consumer,
        source: Partition,
        position: int,
        got: Sequence[Message],
        messages: Sequence[Message],
    ) -> int:
        """How far the consumer is now, markers and aborted records included."""
        if len(messages) < len(got):
            for message in got:
                position = max(position, self._checked(message, source, position))
        if messages:
            position = max(position, _position(messages[-1]) + 1)
        known = consumer.position([TopicPartition(source.topic, source.index)])[0].offset
        return max(position, known)

    def _checked(self, message: Message, source: Partition, position: int) -> int:
        """The position that an end-of-partition notice carries; raises for real errors."""
        error = message.error()
        if error is None or error.code() in PASSING:
            return position
        if error.code() == END:
            return message.offset() or position
        if error.code() in GONE:
            raise LogError(
                f"{source} no longer has, or never had, position {position}: {error.str()}"
            )
        if error.code() in MISSING:
            raise LogError(f"{source} does not exist; `agentlog topics apply` creates the topics")
        raise BrokerError(f"cannot read {source} at {position}: {error.str()}")

    def _consumer(self) -> Consumer:
        return Consumer(
            {**_BULK, "bootstrap.servers": self.bootstrap_servers, "error_cb": self._on_error},
            logger=SILENT,
        )

    def _keep(self, consumer: Consumer) -> None:
        if len(self._idle) < IDLE_CONSUMERS_MAX:
            self._idle.append(consumer)
        else:
            consumer.close()

    def _described(self, topics: Iterable[str]) -> tuple[dict[str, str], list[Partition]]:
        wanted = sorted(set(topics))
        if not wanted:
            return {}, []
        answers = self._admin.describe_topics(
            TopicCollection(wanted), request_timeout=self._silence_s_max
        )
        found = {name: self._answer(future, f"topic {name}") for name, future in answers.items()}
        return (
            {name: str(topic.topic_id) for name, topic in found.items()},
            [
                Partition(name, part.id)
                for name, topic in found.items()
                for part in topic.partitions
            ],
        )

    def _cluster_id(self) -> str:
        answer = self._admin.describe_cluster(request_timeout=self._silence_s_max)
        return str(self._answer(answer, "the cluster").cluster_id)

    def _positions(
        self,
        partitions: Sequence[Partition],
        spec: OffsetSpec,
        isolation: IsolationLevel = IsolationLevel.READ_COMMITTED,
    ) -> dict[Partition, int]:
        """The position that `spec` means on each partition; asks again while leaders move."""
        found: dict[Partition, int] = {}
        deadline = time.monotonic() + self._silence_s_max
        while missing := [part for part in partitions if part not in found]:
            answers = self._admin.list_offsets(
                {TopicPartition(part.topic, part.index): spec for part in missing},
                isolation_level=isolation,
                request_timeout=self._silence_s_max,
            )
            for where, future in answers.items():
                part = Partition(where.topic, where.partition)
                passing = _MOVING if time.monotonic() < deadline else frozenset[int]()
                answer = self._answer(future, str(part), passing)
                if answer is not None:
                    found[part] = answer.offset
            if len(found) < len(partitions):
                time.sleep(_ASK_AGAIN_S)
        return found

    def _answer(self, future: Future[Any], what: str, passing: frozenset[int] = frozenset()) -> Any:
        """The answer, or None for an error that is about to pass."""
        try:
            return future.result(timeout=self._silence_s_max + 5)
        except FutureTimeout as error:
            raise self._broker_error(f"no answer about {what}", error) from error
        except KafkaException as error:
            if error.args[0].code() in passing:
                return None
            if error.args[0].code() in MISSING:
                raise LogError(
                    f"{what} does not exist; `agentlog topics apply` creates the topics"
                ) from error
            raise self._broker_error(f"no answer about {what}", error) from error

    def _broker_error(self, problem: str, error: Exception) -> BrokerError:
        return BrokerError(f"{problem} from {self.bootstrap_servers}: {error} {self._last_error}")

    def _on_error(self, error: KafkaError) -> None:
        self._last_error = error.str()


def _batch(consumer: Consumer) -> list[Message]:
    first = consumer.consume(1, _POLL_S)
    return [*first, *consumer.consume(BATCH_RECORDS_MAX - 1, _FILL_S)] if first else first


def _position(message: Message) -> int:
    return message.offset() or 0
