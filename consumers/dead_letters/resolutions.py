"""Resolutions: what somebody decided about dead letters, folded from `events`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from consumers.dead_letters.places import Place
from streams.dead_letters import DEAD_LETTER_RESOLVED
from streams.errors import DecodeError
from streams.kafka.batches import FetchedBatch
from streams.moments import TimedReader
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import EVENTS, Namespace

CLOCKS_MS_MAX: Final = 60_000
"""How far the append times of two brokers may lie apart."""

_STREAM: Final = b"dlq/"


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody decided about one dead letter. Times are epoch milliseconds."""

    action: str
    redrive: int
    note: str
    at_ms: int
    by: str
    run: str


class Resolutions:
    """What `events` says became of dead letters, read on as far as it goes whenever asked.

    Memory grows with the resolutions since the time that it starts at.
    """

    def __init__(self, reader: TimedReader, codec: Codec, namespace: Namespace) -> None:
        self._reader = reader
        self._codec = codec
        self._topic = namespace.topic(EVENTS)
        self._positions: dict[Partition, int] | None = None
        self._of: dict[Place, list[Resolution]] = {}
        self._redrives: dict[tuple[str, str], int] = {}

    def start_at(self, appended_at_ms: int) -> None:
        """Begin with what was appended from then on; only the first call counts."""
        if self._positions is None:
            since_ms = appended_at_ms - CLOCKS_MS_MAX
            self._positions = dict(self._reader.ends_at([self._topic], since_ms).ends)

    def read_on(self) -> None:
        """Read up to the end of `events` as it is now."""
        assert self._positions is not None, "it has no start yet"
        for source, end in self._reader.ends([self._topic]):
            start = self._positions.get(source, 0)
            for batch in self._reader.read(source, start, end):
                for n, key in enumerate(_keys(batch)):
                    if key is not None and key.startswith(_STREAM):
                        self._add(batch[n])
            self._positions[source] = max(start, end)

    def history(self, place: Place) -> Sequence[Resolution]:
        """All that was decided about this one, oldest first."""
        return self._of.get(place, ())

    def last(self, place: Place) -> Resolution | None:
        """What holds for this one now; None: it is open."""
        found = self._of.get(place)
        return found[-1] if found else None

    def next_redrive(self, place: Place, envelope_id: str, retry_count: int) -> int:
        """A redrive's number: the next one; after a resolution, one that no other one had.

        Workers drop what has the number of an earlier redrive of the same envelope.
        """
        last = self.last(place)
        if last is None:
            return retry_count + 1
        known = self._redrives.get((place.source.topic, envelope_id), 0)
        return 1 + max(retry_count, known, last.redrive)

    def _add(self, record: Record) -> None:
        try:
            envelope = self._codec.decode(record.value, record.headers)
            if envelope.type != DEAD_LETTER_RESOLVED:
                return
            payload = dict(envelope.payload)
        except DecodeError:
            return  # anybody may write to the log
        place = Place(Partition(payload["topic"], payload["partition"]), payload["position"])
        resolution = Resolution(
            action=payload["action"],
            redrive=payload["redrive"],
            note=payload["note"],
            at_ms=record.appended_at_ms,
            by=envelope.sender,
            run=envelope.writer or "",
        )
        self._of.setdefault(place, []).append(resolution)
        if payload["id"]:
            known_by = (payload["topic"], payload["id"])
            self._redrives[known_by] = max(self._redrives.get(known_by, 0), resolution.redrive)


def _keys(batch: Sequence[Record]) -> Sequence[bytes | None]:
    """The records' keys; most events are no resolutions, and need not become records."""
    return batch.keys() if isinstance(batch, FetchedBatch) else [one.key for one in batch]
