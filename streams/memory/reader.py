"""`LogReader` over the log in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from streams.cuts import Cut
from streams.errors import BrokerError, LogError
from streams.memory.failures import CallFailed, Failure
from streams.memory.log import MemoryLog
from streams.record import Partition, Record

BATCH_RECORDS_MAX: Final = 10_000
"""Records in one batch."""


class MemoryLogReader:
    """`LogReader` over a `MemoryLog`, which also finds positions by append time."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def ends(self, topics: Iterable[str]) -> Cut:
        """The LSO of every partition of these topics, as of now."""
        partitions = self._partitions(topics)
        return self._cut({one: self._log.end(one) for one in partitions})

    def appended_end(self, source: Partition) -> int:
        """The end of one partition as of now, records of open transactions included."""
        return self._log.end(source, committed=False)

    def starts(self, topics: Iterable[str]) -> dict[Partition, int]:
        """The first position that each partition still has."""
        return {one: self._log.start(one) for one in self._partitions(topics)}

    def ends_at(self, topics: Iterable[str], epoch_ms: int) -> Cut:
        """Each partition's first position whose record was appended after `epoch_ms`."""
        return self._cut(
            {
                one: min(self._log.first_after(one, epoch_ms), self._log.end(one))
                for one in self._partitions(topics)
            }
        )

    def read(self, source: Partition, start: int, end: int) -> Iterator[Sequence[Record]]:
        """Batches of the visible records with start ≤ position < end, in order.

        Raises `LogError` where the range is not on the log, `BrokerError` if it ends behind what
        is stable: nothing more would come while nobody writes.
        """
        position = start
        while position < end:
            try:
                found = self._log.fetch(source, position, end=end, count_max=BATCH_RECORDS_MAX)
            except CallFailed as error:
                raise _log_error(source, position, error) from error
            if found.position == position:
                raise BrokerError(
                    f"{source} stopped at {position} of {end}: the stable end is {position}"
                )
            position = found.position
            if found.records:
                yield found.records

    def _partitions(self, topics: Iterable[str]) -> list[Partition]:
        found: list[Partition] = []
        for topic in sorted(set(topics)):
            partitions = self._log.partitions(topic)
            if not partitions:
                raise LogError(
                    f"topic {topic} does not exist; `MemoryLog.provision` creates the topics, "
                    "`agentlog topics apply` on a cluster"
                )
            found += partitions
        return found

    def _cut(self, ends: dict[Partition, int]) -> Cut:
        topics = dict.fromkeys(one.topic for one in ends)
        return Cut(
            cluster_id=self._log.cluster_id,
            topic_ids={topic: self._log.topic_id(topic) for topic in topics},
            ends=ends,
        )


def _log_error(source: Partition, position: int, error: CallFailed) -> LogError:
    if error.failure is Failure.UNKNOWN_TOPIC_OR_PARTITION:
        return LogError(str(error))
    return LogError(f"{source} no longer has, or never had, position {position}: {error}")
