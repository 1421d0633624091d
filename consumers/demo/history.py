"""Step two of the demo: a real history goes onto the log through one publisher."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.progress import Progress

from streams.envelope import Envelope
from streams.errors import AgentlogError
from streams.imports import Importer, Phase, Source
from streams.kafka.publisher import RECORD_BYTES_MAX, Publisher
from streams.kafka.reader import KafkaLogReader
from streams.outgoing import Outbox
from streams.ports import SystemClock
from streams.schemas import Codec
from streams.topics import Namespace


@dataclass(frozen=True, slots=True)
class Imported:
    """How the import went. Times are seconds on the monotonic clock."""

    published: int
    seconds: float
    first_envelope_at: float


class HistoryImport:
    """Publishes one file, with a progress bar."""

    def __init__(
        self, servers: str, namespace: Namespace, codec: Codec, progress: Progress
    ) -> None:
        self._servers = servers
        self._namespace = namespace
        self._codec = codec
        self._progress = progress
        self._bar = progress.add_task("reading the history", total=None)
        self._began = 0.0

    async def run(self, history: Path) -> Imported:
        """Publish every message. Raises `AgentlogError` if a line is bad: ours has none."""
        source = Source(str(history))
        outbox = Outbox(
            self._codec,
            sender="history",
            clock=SystemClock(),
            rng=random.Random(),
            record_bytes_max=RECORD_BYTES_MAX,
            namespace=self._namespace,
        )
        async with Publisher(
            self._servers, self._namespace, self._codec, sender="history"
        ) as publisher:
            timed = _Timed(publisher)
            with KafkaLogReader(self._servers) as reader:
                importer = Importer(timed, outbox, reader, self._namespace, progress=self._tell)
                result = await importer.run(source)
        if result.bad or timed.first_at is None:
            raise AgentlogError(f"{history}: {len(result.bad)} bad lines: {result.bad[:3]}")
        return Imported(result.published, time.monotonic() - self._began, timed.first_at)

    def _tell(self, phase: Phase, done: int, total: int | None) -> None:
        if phase is Phase.CHECK and total is not None:
            self._began = time.monotonic()
        if phase is Phase.PUBLISH:
            self._progress.update(
                self._bar, description="publishing the history", completed=done, total=total
            )


class _Timed:
    """A publisher that remembers when its first envelopes were acknowledged."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self.first_at: float | None = None

    async def publish_many(self, envelopes: Iterable[Envelope]) -> None:
        waiting = iter(envelopes)
        if self.first_at is None and (first := next(waiting, None)) is not None:
            await self._publisher.publish(first)
            self.first_at = time.monotonic()
        await self._publisher.publish_many(waiting)
