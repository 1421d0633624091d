"""What the tests of kept states share: a log in memory, and a reader that stops as a kill does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from streams.memory import MemoryLog, MemoryLogReader
from streams.record import Partition, Record
from streams.topics import INBOX, TASKS, TOPICS, Namespace
from tests.consumers.projections.strategies import CODEC
from tests.consumers.worker.harness import assign_task

BATCH = 5
NAMESPACE = Namespace("ns")


class Killed(BaseException):
    """Nobody catches it: so a process ends that is killed."""


class StoppingReader(MemoryLogReader):
    """Small batches; ends the replay after some of them, and counts what it gave."""

    def __init__(self, log: MemoryLog, batches_max: int | None = None) -> None:
        super().__init__(log)
        self.batches_max = batches_max
        self.records = 0

    def read(self, source: Partition, start: int, end: int) -> Iterator[Sequence[Record]]:
        for batch in super().read(source, start, end):
            for first in range(0, len(batch), BATCH):
                if self.batches_max is not None and self.records >= BATCH * self.batches_max:
                    raise Killed
                part = batch[first : first + BATCH]
                self.records += len(part)
                yield part


def filled(tasks: int = 100) -> MemoryLog:
    """A log with tasks on two partitions, and something that nobody can read."""
    log = MemoryLog()
    log.provision(NAMESPACE, TOPICS)
    append(log, range(tasks))
    log.append(Partition(NAMESPACE.topic(INBOX), 0), b"k", b"?")
    return log


def append(log: MemoryLog, numbers: range) -> None:
    topic = NAMESPACE.topic(TASKS)
    for n in numbers:
        envelope = assign_task(n, "k", recipients=(f"a{n % 7}",))
        log.append(Partition(topic, n % 2), b"k", CODEC.encode(envelope))
