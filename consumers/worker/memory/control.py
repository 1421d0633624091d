"""The system lane on the log in memory: heard as soon as it is appended, by the same rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from consumers.worker.control import HISTORY_MS, Controlled, ControlListener
from streams.errors import DecodeError
from streams.memory import MemoryLog, MemoryLogReader
from streams.schemas import Codec
from streams.topics import CONTROL, Namespace


class MemoryControl(ControlListener):
    """Hears `control` for one worker on a `MemoryLog`; `group` is its group's full name."""

    def __init__(
        self,
        log: MemoryLog,
        namespace: Namespace,
        codec: Codec,
        controlled: Controlled,
        *,
        group: str,
        run_id: str,
    ) -> None:
        super().__init__(
            "memory", namespace, codec, controlled, group=group, run_id=run_id, clock=log.clock
        )
        self._log = log
        self._control = namespace.topic(CONTROL)
        self._unwatch: Callable[[], None] | None = None
        self._listening = False

    async def start(self) -> None:
        """Hear the last ten minutes, then whatever comes."""
        reader = MemoryLogReader(self._log)
        since_ms = self._log.clock.now_us() // 1000 - HISTORY_MS
        topics = [self._control]
        self._places.begin(reader.ends_at(topics, since_ms), reader.ends(topics))
        self._unwatch = self._log.watch(self._hear_soon)
        self._hear_all()

    async def stop(self) -> None:
        """Stop listening. Twice does no harm."""
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None

    def _hear_soon(self) -> None:
        if not self._listening:  # it may be one of our own calls that changed the log
            self._listening = True
            asyncio.get_running_loop().call_soon(self._hear_all)

    def _hear_all(self) -> None:
        self._listening = False
        for source, position in tuple(self._places.positions.items()):
            found = self._log.fetch(source, position)
            for record in found.records:
                try:
                    self._act(record, self._codec.decode(record.value, record.headers))
                except DecodeError as problem:
                    self._pass_over(record, problem)
            self._places.passed(source, found.position)
