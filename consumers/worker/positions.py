"""Positions: what a group has committed, asked and told outside of transactions.

Called on the consumer's own thread alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)

from consumers.marks import Mark
from consumers.worker.ports import Committed
from streams.kafka.groups import MOVING
from streams.record import Partition

COMMITTED_S_MAX: Final = 240.0
"""Committed positions are stable only when the last owner's transaction is settled (H5): its
timeout (10 s) and the broker's next look for timed-out ones (10 s) must fit, and brokers that are
away for a while. Below max.poll.interval.ms (300 s), after which the group gives them to others."""
ASK_S_MAX: Final = 5.0
"""One question. The client may sleep through its coordinator's return, and hears no stop."""
ASK_AGAIN_S: Final = 0.1

_PASSING: Final = MOVING | frozenset(
    {
        KafkaError._TIMED_OUT,  # noqa: SLF001 - librdkafka's own codes are spelled so
        KafkaError._TIMED_OUT_QUEUE,  # noqa: SLF001 - it waited for a coordinator, and was not sent
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._WAIT_COORD,  # noqa: SLF001
    }
)
_NO_MEMBER: Final = frozenset(
    {
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.STALE_MEMBER_EPOCH,
        KafkaError.FENCED_MEMBER_EPOCH,
    }
)
_log: Final = structlog.get_logger("agentlog.worker.source")


def committed_positions(
    consumer: Consumer, partitions: Sequence[TopicPartition], wait: Callable[[float], bool]
) -> list[TopicPartition]:
    """Each partition with its committed position and metadata, or with where it begins.

    Asks again, after a `wait`, while the coordinator moves or a transaction is unsettled; none at
    all if that says True: stop. Raises `KafkaException` after `COMMITTED_S_MAX`.
    """
    if not partitions:
        return []
    deadline = time.monotonic() + COMMITTED_S_MAX
    while True:
        try:
            return _ask(consumer, list(partitions))
        except KafkaException as error:
            passing = error.args[0].code() in _PASSING or error.args[0].retriable()
            if not passing or time.monotonic() > deadline:
                raise
            _log.warning("no_committed_positions_yet", error=str(error))
            if wait(ASK_AGAIN_S):
                return []


def _ask(consumer: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    starts = []
    for found in consumer.committed(partitions, timeout=ASK_S_MAX):
        if found.error is not None:
            raise KafkaException(found.error)
        position, metadata = found.offset, found.metadata or ""
        if position == OFFSET_INVALID:
            position, _ = consumer.get_watermark_offsets(found, timeout=ASK_S_MAX, cached=False)
        starts.append(TopicPartition(found.topic, found.partition, position, metadata))
    return starts


def warn_of_removed(consumer: Consumer, starts: Sequence[TopicPartition]) -> None:
    """Say what retention has removed before the group got to it: nobody of it will run that.

    One question for all; without an answer nothing is said.
    """
    if not starts:
        return
    # The timestamp that stands for the beginning (KIP-79).
    asked = [TopicPartition(one.topic, one.partition, OFFSET_BEGINNING) for one in starts]
    try:
        found = consumer.offsets_for_times(asked, timeout=ASK_S_MAX)
    except KafkaException as error:
        _log.warning("beginnings_unknown", error=str(error))
        return
    begins = {(one.topic, one.partition): one.offset for one in found if one.error is None}
    for one in starts:
        begin = begins.get((one.topic, one.partition), 0)
        mark = Mark.decode(one.offset, one.metadata or "")
        finished = sum(max(0, min(stop, begin) - start) for start, stop in mark.finished)
        count = begin - one.offset - finished
        if count > 0:
            _log.warning(
                "positions_removed",
                topic=one.topic,
                partition=one.partition,
                count=count,
                **{"from": one.offset, "to": begin},
            )


def commit_positions(consumer: Consumer, marks: Mapping[Partition, Mark]) -> Committed:
    """Commit positions with their marks. `UNKNOWN` if this is no member any more, or closed."""
    positions = [
        TopicPartition(*source, mark.position, mark.encode()) for source, mark in marks.items()
    ]
    try:
        if positions:
            consumer.commit(offsets=positions, asynchronous=False)
    except KafkaException as error:
        _log.warning("positions_not_committed", error=str(error))
        # No member any more: to say it all again would only repeat it.
        return Committed.UNKNOWN if error.args[0].code() in _NO_MEMBER else Committed.NO
    except RuntimeError:  # the consumer is closed
        return Committed.UNKNOWN
    return Committed.YES
