"""How far a group is, asked while it runs: for deciding when a fault begins and when all is done.

Figures for the table are not taken from here but from the journal on the log (`timeline`), which
no broken connection hides.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.kafka.configs import SILENT
from streams.record import Partition

ASK_S: Final = 5.0
POLL_S: Final = 0.3
UNANSWERED_MAX: Final = 5
"""Questions without an answer after which another connection asks."""


class Progress:
    """Committed positions of a group over one topic (full names), as last heard."""

    def __init__(self, servers: str, group: str, topic: str, partitions: int) -> None:
        self._config = {
            "bootstrap.servers": servers,
            "group.id": group,
            "isolation.level": "read_uncommitted",
            "enable.auto.commit": False,
            "socket.timeout.ms": 5_000,
        }
        self._consumer = self._connect()
        self._unanswered = 0
        self._asking = threading.Lock()
        self._parts = [TopicPartition(topic, index) for index in range(partitions)]
        self.committed: dict[Partition, int] = {}
        self.ends: dict[Partition, int] = {}
        self.steps_back: list[str] = []
        """Committed positions that were lower than before."""

    @property
    def done(self) -> int:
        """Positions committed, over all partitions."""
        return sum(self.committed.values())

    @property
    def left(self) -> int:
        """Positions not committed yet, as far as the ends are known."""
        return sum(max(0, end - self.committed.get(part, 0)) for part, end in self.ends.items())

    @property
    def caught_up(self) -> bool:
        """True if every partition is committed to its very end.

        A leader that is new may name an end below what is committed: that is not yet its end.
        """
        return bool(self.ends) and all(
            self.committed.get(part, 0) == end for part, end in self.ends.items()
        )

    @property
    def apart(self) -> list[str]:
        """Partitions whose committed position is not their end."""
        return [
            f"{part}: committed {self.committed.get(part)}, end {end}"
            for part, end in self.ends.items()
            if self.committed.get(part, 0) != end
        ]

    def ask(self) -> bool:
        """Ask once, ends last, so that `left` is never too small; False if there was no answer."""
        with self._asking:
            return self._ask()

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Ask again and again while the block runs, so that `left` is as it is now."""

        async def ask() -> None:
            while True:
                await asyncio.to_thread(self.ask)
                await asyncio.sleep(POLL_S)

        task = asyncio.create_task(ask())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    def _ask(self) -> bool:
        try:
            committed = self._consumer.committed(self._parts, timeout=ASK_S)
            ends = {}
            for part in self._parts:
                _, end = self._consumer.get_watermark_offsets(part, timeout=ASK_S, cached=False)
                ends[Partition(part.topic, part.partition)] = end
        except KafkaException:
            self._unanswered += 1
            if self._unanswered % UNANSWERED_MAX == 0:  # it holds on to a broker that is gone
                self._consumer.close()
                self._consumer = self._connect()
            return False
        for found in committed:
            if found.error is None and found.offset >= 0:
                self._heard(Partition(found.topic, found.partition), found.offset)
        self.ends = ends
        return True

    def _connect(self) -> Consumer:
        # A consumer that joins nothing. The admin client ends the whole process by an assertion
        # when a coordinator that it asks dies (librdkafka 2.16.0, rd_kafka_enq_once).
        return Consumer(self._config, logger=SILENT)

    def _heard(self, source: Partition, position: int) -> None:
        before = self.committed.get(source, 0)
        if position < before:
            self.steps_back.append(f"{source}: {position} after {before}")
        self.committed[source] = position

    async def until(
        self,
        condition: Callable[[], bool],
        *,
        silence_s_max: float,
        limit_s: float,
        on_silence: Callable[[], None] = lambda: None,
    ) -> bool:
        """Poll until the condition holds. False if nothing was committed for `silence_s_max`, or
        it took longer than `limit_s`. `on_silence` is called once, when it is a fifth of that.
        """
        told = False
        began = moved_at = time.monotonic()
        before = -1
        while True:
            await asyncio.to_thread(self.ask)
            if condition():
                return True
            now = time.monotonic()
            if self.done > before:
                before, moved_at = self.done, now
            if now - moved_at > silence_s_max / 5 and not told:
                told = True
                on_silence()
            if now - moved_at > silence_s_max or now - began > limit_s:
                return False
            await asyncio.sleep(POLL_S)

    def close(self) -> None:
        """Close the connection."""
        self._consumer.close()
