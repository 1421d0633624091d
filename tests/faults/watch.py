"""How far a group is, asked while it runs: for deciding when a fault begins and when all is done.

Figures for the table are not taken from here but from the journal on the log (`timeline`), which
no broken connection hides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.kafka.configs import SILENT
from streams.record import Partition

ASK_S: Final = 5.0
POLL_S: Final = 0.3


class Progress:
    """Committed positions of a group over one topic (full names), as last heard."""

    def __init__(self, servers: str, group: str, topic: str, partitions: int) -> None:
        # A consumer that joins nothing. The admin client ends the whole process by an assertion
        # when a coordinator that it asks dies (librdkafka 2.16.0, rd_kafka_enq_once).
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers,
                "group.id": group,
                "isolation.level": "read_uncommitted",
                "enable.auto.commit": False,
                "socket.timeout.ms": 5_000,
            },
            logger=SILENT,
        )
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

    def ask(self) -> bool:
        """Ask once, ends last, so that `left` is never too small; False if there was no answer."""
        try:
            answer = self._consumer.committed(self._parts, timeout=ASK_S)
            for found in answer:
                if found.error is None and found.offset >= 0:
                    self._heard(Partition(found.topic, found.partition), found.offset)
            for part in self._parts:
                _, end = self._consumer.get_watermark_offsets(part, timeout=ASK_S, cached=False)
                self.ends[Partition(part.topic, part.partition)] = end
        except KafkaException:
            return False
        return True

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
