"""Looking: the evidence of one range of the log, record by record.

The five bytes before a record name the schema that wrote it. Records whose type is read as before
are counted by them and passed; of the others each is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from consumers.folds import Range
from consumers.projections.partition_fold import columns_of
from consumers.reviewing.evidence import (
    SITES_MAX,
    Evidence,
    First,
    Observed,
    Seen,
    merge_seen,
    merge_unknown,
)
from consumers.reviewing.readings import Reading, reading_of
from consumers.reviewing.sides import Sides
from consumers.reviewing.sites import Happening, Hit, Shown, Unreadable
from streams.errors import DecodeError
from streams.kafka.batches import FetchedBatch
from streams.ports import LogReader
from streams.record import Record
from streams.schemas import Codec, WriterSchema, unframe
from streams.schemas.compatibility import InvalidSchema
from streams.schemas.decoder import BAD_BYTES, why
from streams.schemas.framing import PREFIX_LENGTH

FRAMES_MAX: Final = 10_000
"""Beginnings of records that are no schema's and are remembered; others are looked at each time."""
_FRAMED: Final = b"\x00"


class EvidenceFold(NamedTuple):
    """How a range of the log is looked at. Goes to other processes."""

    sides: Sides

    def passed_before(self, span: Range) -> int:  # noqa: ARG002  # nothing is kept
        """A review begins anew each time."""
        return 0

    def run(
        self, reader: LogReader, codec: Codec, span: Range, on_passed: Callable[[int], None]
    ) -> Evidence:
        """The evidence of one range; `on_passed` is told how many positions were passed."""
        looking, position = _Looking(self.sides, codec, span.source.topic), span.start
        for batch in reader.read(span.source, position, span.end):
            looking.add(batch)
            passed, position = position, batch[-1].position + 1
            on_passed(position - passed)
        on_passed(span.end - position)
        return looking.finish()


class _Looking:
    def __init__(self, sides: Sides, codec: Codec, topic: str) -> None:
        self._topic = topic
        self._readings = readings_of(sides)
        self._codec = codec
        self._frames: dict[bytes, _Observing | int | None] = {}
        self._by_id: dict[int, _Observing] = {}
        self._evidence = Evidence()

    def add(self, records: Sequence[Record]) -> None:
        """Look at a batch."""
        columns = records.columns() if isinstance(records, FetchedBatch) else columns_of(records)
        values = columns.values
        frames = [value[:PREFIX_LENGTH] if value else b"" for value in values]
        read = dict[bytes, _Observing | None]()
        for frame, count in Counter(frames).items():
            found = self._of(frame)
            if isinstance(found, int):
                passed = self._evidence.passed
                passed[found] = passed.get(found, 0) + count
            else:
                read[frame] = found
        alone = {frame for frame, observing in read.items() if observing is None}
        for n in [n for n, one in enumerate(frames) if one in alone] if alone else ():
            self._single(records[n])
        for frame, observing in read.items():
            if observing is not None:
                places = [n for n, one in enumerate(frames) if one == frame]
                observing.add(values, places, PREFIX_LENGTH, records)

    def finish(self) -> Evidence:
        """What was found."""
        for schema_id, observing in self._by_id.items():
            observed = self._evidence.observed[schema_id] = observing.finish()
            observed.topics = {self._topic: observed.records}
        return self._evidence

    def _of(self, frame: bytes) -> _Observing | int | None:
        """What reads records that begin so; the id alone of those that are passed; None: it has
        to be asked for each.
        """
        if frame in self._frames:
            return self._frames[frame]
        found: _Observing | int | None = None
        if frame[:1] == _FRAMED and len(frame) == PREFIX_LENGTH:
            with suppress(DecodeError, InvalidSchema):
                found = self._observing(unframe(frame)[0])
        if found is not None or len(self._frames) < FRAMES_MAX:
            self._frames[frame] = found
        return found

    def _observing(self, schema_id: int) -> _Observing | int:
        # A registry may have given the schema another id: it counts as ours.
        writer = self._codec.writer_schema(schema_id)
        reading = self._readings.of(writer)
        if reading is None:
            return writer.id
        if writer.id not in self._by_id:
            self._by_id[writer.id] = _Observing(reading)
        return self._by_id[writer.id]

    def _single(self, record: Record) -> None:
        """A record that does not begin with a known schema's id: perhaps a header has it."""
        try:
            if record.value is None:
                raise DecodeError("the record has no value")
            schema_id, start = unframe(record.value, record.headers)
            found = self._observing(schema_id)
        except (DecodeError, InvalidSchema) as error:
            seen = {str(error): Seen(1, _first(record, Shown("", ""), str(error)))}
            merge_unknown(self._evidence.unknown, seen)
            return
        if isinstance(found, int):
            self._evidence.passed[found] = self._evidence.passed.get(found, 0) + 1
        else:
            found.add([record.value], [0], start, [record])


class _Observing:
    """One writer's records in one range."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._walk = reading.walk
        self._observed = Observed()
        self._seen: dict[int, Seen] = {}
        self._hits: list[Hit] = []
        self._first: First | None = None

    def add(
        self, values: Sequence[Any], places: Sequence[int], start: int, records: Sequence[Record]
    ) -> None:
        """Read some of a batch's records, which are made only where they are needed."""
        walk, hits, observed = self._walk, self._hits, self._observed
        hit = hits.append
        observed.records += len(places)
        for n in places:
            try:
                walk(values[n], start, hit)
            except Unreadable as error:
                site = self._reading.sites[error.site]
                is_new = not self._reading.fails_today(values[n], start)
                self._fail(site.path, str(error), records[n], is_new=is_new)
            except BAD_BYTES as error:
                self._fail("$", f"nobody can read it: {why(error)}", records[n], is_new=False)
            else:
                if hits:
                    self._note(records, n)
                if self._first is None:
                    self._first = _first(records[n], Shown("", ""))

    def finish(self) -> Observed:
        """What became of them."""
        sites, observed = self._reading.sites, self._observed
        for k in self._reading.always if self._first else ():
            assert self._first is not None
            shown = sites[k].show(None)
            first = msgspec.structs.replace(
                self._first, today=shown.today, candidate=shown.candidate
            )
            merge_seen(
                observed.sites, {(sites[k].happening, sites[k].path): Seen(observed.decoded, first)}
            )
        for k, seen in self._seen.items():
            key = sites[k].happening, sites[k].path
            if key in observed.sites:  # where it always happens, it happens to a part as well
                continue
            observed.sites[key] = seen
        return observed

    def _note(self, records: Sequence[Record], n: int) -> None:
        hits, seen = self._hits, self._seen
        for k in {k for k, _ in hits} if len(hits) > 1 else (hits[0][0],):
            if k in seen:
                seen[k].count += 1
            elif len(seen) < SITES_MAX:
                raw = next(raw for other, raw in hits if other == k)
                shown = self._reading.sites[k].show(raw)
                seen[k] = Seen(1, _first(records[n], shown))
        hits.clear()

    def _fail(self, path: str, reason: str, record: Record, *, is_new: bool) -> None:
        self._hits.clear()
        self._observed.failed += 1
        self._observed.failed_today += not is_new
        happening = Happening.FAILED if is_new else Happening.UNREADABLE
        seen = Seen(1, _first(record, Shown("", ""), reason))
        merge_seen(self._observed.sites, {(happening, path): seen})


class Readings:
    """How the records of each schema are judged, as far as somebody asked."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._found: dict[int, Reading | None] = {}

    def of(self, writer: WriterSchema) -> Reading | None:
        """None: they are read as before. Raises `DecodeError`, `InvalidSchema` for what is none."""
        if writer.id not in self._found:
            affected = self._sides.is_affected(writer)
            self._found[writer.id] = reading_of(self._sides, writer) if affected else None
        return self._found[writer.id]


@lru_cache(maxsize=4)
def readings_of(sides: Sides) -> Readings:
    """One for all ranges that a process looks at."""
    return Readings(sides)


def _first(record: Record, shown: Shown, reason: str = "") -> First:
    return First(
        record.appended_at_ms, record.topic, record.partition, record.position, *shown, reason
    )
