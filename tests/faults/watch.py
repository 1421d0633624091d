"""How far a group is, asked while it runs: for deciding when a fault begins and when all is done.

Figures for the table are not taken from here but from the journal on the log (`timeline`), which
no broken connection hides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, IsolationLevel, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from streams.record import Partition

ASK_S: Final = 5.0
POLL_S: Final = 0.3


class Progress:
    """Committed positions of a group over one topic (full names), as last heard."""

    def __init__(self, admin: AdminClient, group: str, topic: str, partitions: int) -> None:
        self._admin = admin
        self._group = group
        self._parts = [TopicPartition(topic, index) for index in range(partitions)]
        self._latest: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]
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
        return sum(end - self.committed.get(part, 0) for part, end in self.ends.items())

    @property
    def caught_up(self) -> bool:
        """True if every partition is committed to its end."""
        return bool(self.ends) and self.left == 0

    def ask(self) -> bool:
        """Ask once, ends last, so that `left` is never too small; False if there was no answer."""
        request = ConsumerGroupTopicPartitions(self._group, self._parts)
        try:
            answer = self._admin.list_consumer_group_offsets(
                [request], require_stable=False, request_timeout=ASK_S
            )[self._group].result(ASK_S + 1)
            ends = {
                part: future.result(ASK_S + 1).offset
                for part, future in self._admin.list_offsets(
                    dict.fromkeys(self._parts, self._latest),
                    isolation_level=IsolationLevel.READ_UNCOMMITTED,
                    request_timeout=ASK_S,
                ).items()
            }
        except Exception:  # noqa: BLE001 - whatever it was, the next poll asks again
            return False
        for found in answer.topic_partitions:
            if found.error is None and found.offset >= 0:
                self._heard(Partition(found.topic, found.partition), found.offset)
        self.ends |= {Partition(part.topic, part.partition): end for part, end in ends.items()}
        return True

    def _heard(self, source: Partition, position: int) -> None:
        before = self.committed.get(source, 0)
        if position < before:
            self.steps_back.append(f"{source}: {position} after {before}")
        self.committed[source] = position

    async def until(
        self, condition: Callable[[], bool], *, silence_s_max: float, limit_s: float
    ) -> bool:
        """Poll until the condition holds. False if nothing was committed for `silence_s_max`, or
        it took longer than `limit_s`.
        """
        began = moved_at = time.monotonic()
        before = -1
        while True:
            await asyncio.to_thread(self.ask)
            if condition():
                return True
            now = time.monotonic()
            if self.done > before:
                before, moved_at = self.done, now
            if now - moved_at > silence_s_max or now - began > limit_s:
                return False
            await asyncio.sleep(POLL_S)
