"""The log in memory, telling a trace what happens on it; and the trace."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from consumers.marks import Mark
from streams.memory import (
    CallFailed,
    CommittedPosition,
    GroupMetadata,
    Heartbeat,
    MemoryLog,
    Producer,
)
from streams.memory.partition import Headers
from streams.record import Partition


class Trace:
    """What happened, in order: (virtual microseconds, what, about what)."""

    def __init__(self) -> None:
        self.lines: list[tuple[int, str, tuple[Any, ...]]] = []

    def __call__(self, what: str, *about: Any) -> None:
        """This happened now."""
        now_us = round(asyncio.get_running_loop().time() * 1_000_000)
        self.lines.append((now_us, what, about))

    def texts(self) -> list[str]:
        """For people, and for digests."""
        return [
            f"{now_us / 1_000_000:10.4f}  {what:<14} {' '.join(map(str, about))}"
            for now_us, what, about in self.lines
        ]


class TracedLog(MemoryLog):
    """A `MemoryLog` whose every change is traced."""

    def __init__(self, trace: Trace, **kwargs: Any) -> None:
        self._trace = trace
        self._owners: dict[tuple[str, Partition], str] = {}
        """The member that spoke last, by group and partition."""
        self._found: dict[tuple[str, Partition], tuple[int | None, int]] = {}
        """What it found when it began: the suspect, and its starts (H11)."""
        super().__init__(**kwargs)

    def started_by(self, group: str, source: Partition, member_id: str) -> int | None:
        """The position of the record that the log calls started, and this member started."""
        mark, owned = self._mark(group, source), (group, source)
        if self._owners.get(owned) != member_id or _started(mark) == self._found[owned]:
            return None
        return mark.suspect

    def _mark(self, group: str, source: Partition) -> Mark:
        known = self._of(group).committed([source], stable=False)[source]
        return Mark.decode(known.position, known.metadata) if known else Mark(0)

    def append(
        self,
        source: Partition,
        key: bytes | None,
        value: bytes | None,
        headers: Headers = (),
        *,
        producer: Producer | None = None,
    ) -> int:
        position = super().append(source, key, value, headers, producer=producer)
        self._trace("append", f"{source}@{position}", key, _name(producer))
        return position

    def send_positions(
        self,
        producer: Producer,
        metadata: GroupMetadata,
        positions: Mapping[Partition, CommittedPosition],
    ) -> None:
        self._trace("positions", _name(producer), metadata.member_id, metadata.epoch)
        super().send_positions(producer, metadata, positions)
        self._note_owner(metadata, positions)
        self._say_positions(positions)

    def commit_positions(
        self, metadata: GroupMetadata, positions: Mapping[Partition, CommittedPosition]
    ) -> None:
        self._note_owner(metadata, positions)  # before they are what was said before
        super().commit_positions(metadata, positions)
        self._say_positions(positions)

    def _say_positions(self, positions: Mapping[Partition, CommittedPosition]) -> None:
        for source, position in positions.items():
            self._trace("position", source, position.position, position.metadata)

    def _note_owner(
        self, metadata: GroupMetadata, positions: Mapping[Partition, CommittedPosition]
    ) -> None:
        for source, position in positions.items():
            owned = (metadata.group, source)
            before = self._mark(*owned)
            if self._owners.get(owned) != metadata.member_id or before.clean:
                opening = Mark.decode(position.position, position.metadata)
                self._owners[owned], self._found[owned] = metadata.member_id, _started(opening)

    def commit(self, producer: Producer) -> None:
        try:
            super().commit(producer)
        except CallFailed as error:
            self._trace("commit_failed", _name(producer), error.failure)
            raise
        self._trace("commit", _name(producer))

    def abort(self, producer: Producer) -> None:
        self._trace("abort", _name(producer))
        super().abort(producer)

    def rejoin(self, group: str, member_id: str, topics: Collection[str]) -> Heartbeat:
        answer = super().rejoin(group, member_id, topics)
        self._trace("join", member_id, answer.epoch)
        return answer

    def leave(self, group: str, member_id: str) -> None:
        self._trace("leave", member_id)
        super().leave(group, member_id)


def _started(mark: Mark) -> tuple[int | None, int]:
    return mark.suspect, mark.starts


def _name(producer: Producer | None) -> str:
    return f"{producer.transactional_id}/{producer.epoch}" if producer else "-"
