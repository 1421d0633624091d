"""Looking: the evidence of one range of the log, record by record.

The five bytes before a record name the schema that wrote it. Records whose type is read as before
are counted by them and passed; of the others each is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from consumers.folds import Range
from consumers.projections.partition_fold import columns_of
from consumers.reviewing.evidence import (
    Evidence,
    Seen,
    merge_unknown,
)
from consumers.reviewing.observing import Observing, first_of
from consumers.reviewing.readings import readings_of
from consumers.reviewing.sides import Sides
from consumers.reviewing.sites import Shown
from streams.errors import DecodeError
from streams.kafka.batches import FetchedBatch
from streams.ports import LogReader
from streams.record import Record
from streams.schemas import Codec, unframe
from streams.schemas.compatibility import InvalidSchema
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
        self._frames: dict[bytes, Observing | int | None] = {}
        self._by_id: dict[int, Observing] = {}
        self._envelopes: dict[int, Observing] = {}
        self._evidence = Evidence()

    def add(self, records: Sequence[Record]) -> None:
        """Look at a batch."""
        columns = records.columns() if isinstance(records, FetchedBatch) else columns_of(records)
        values = columns.values
        frames = [value[:PREFIX_LENGTH] if value else b"" for value in values]
        read = dict[bytes, Observing | None]()
        for frame, count in Counter(frames).items():
            found = self._of(frame)
            if found is not None and (envelope := self._envelope_of(unframe(frame)[0])):
                places = [n for n, one in enumerate(frames) if one == frame]
                envelope.add(values, places, PREFIX_LENGTH, records)
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
        evidence = self._evidence
        for by_id, found in (
            (self._by_id, evidence.observed),
            (self._envelopes, evidence.envelopes),
        ):
            for schema_id, observing in by_id.items():
                observed = found[schema_id] = observing.finish()
                observed.topics = {self._topic: observed.records}
        return evidence

    def _of(self, frame: bytes) -> Observing | int | None:
        """What reads records that begin so; the id alone of those that are passed; None: it has
        to be asked for each.
        """
        if frame in self._frames:
            return self._frames[frame]
        found: Observing | int | None = None
        if frame[:1] == _FRAMED and len(frame) == PREFIX_LENGTH:
            with suppress(DecodeError, InvalidSchema):
                found = self._observing(unframe(frame)[0])
        if found is not None or len(self._frames) < FRAMES_MAX:
            self._frames[frame] = found
        return found

    def _observing(self, schema_id: int) -> Observing | int:
        # A registry may have given the schema another id: it counts as ours.
        writer = self._codec.writer_schema(schema_id)
        reading = self._readings.of(writer)
        if reading is None:
            return writer.id
        if writer.id not in self._by_id:
            self._by_id[writer.id] = Observing(reading)
        return self._by_id[writer.id]

    def _envelope_of(self, schema_id: int) -> Observing | None:
        """What reads the envelopes of a known schema's records, where that is asked for."""
        writer = self._codec.writer_schema(schema_id)
        reading = self._readings.of_envelope(writer)
        if reading is None:
            return None
        return self._envelopes.setdefault(writer.id, Observing(reading))

    def _single(self, record: Record) -> None:
        """A record that does not begin with a known schema's id: perhaps a header has it."""
        try:
            if record.value is None:
                raise DecodeError("the record has no value")
            schema_id, start = unframe(record.value, record.headers)
            found = self._observing(schema_id)
            envelope = self._envelope_of(schema_id)
        except (DecodeError, InvalidSchema) as error:
            first = first_of(record, Shown("", ""), str(error))
            merge_unknown(self._evidence.unknown, {first.why: Seen(1, first)})
            return
        if isinstance(found, int):
            self._evidence.passed[found] = self._evidence.passed.get(found, 0) + 1
        else:
            found.add([record.value], [0], start, [record])
        if envelope is not None:
            envelope.add([record.value], [0], start, [record])
