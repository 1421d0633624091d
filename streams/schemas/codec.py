"""The codec: envelopes to Confluent-framed Avro values, and back.

Encoding checks the envelope, then writes its front and its payload; the two together are the one
record that the type's writer schema describes. Decoding reads the front only; the payload decodes
when somebody touches it, under the catalogue's own schema of the type if there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from typing import Any, Final

import fastavro
import msgspec

from streams.envelope import Envelope, check
from streams.errors import DecodeError, InvalidEnvelope, InvalidPayload, UnknownSchema
from streams.ports import SchemaSource
from streams.schemas.catalogue import Catalogue, EventType
from streams.schemas.decoder import BAD_BYTES, why
from streams.schemas.encoder import UNUSUAL, Encoder
from streams.schemas.framing import PREFIX_LENGTH, frame, unframe
from streams.schemas.front import Front
from streams.schemas.misfit import Misfit, find_misfit
from streams.schemas.stored import PayloadReader, StoredPayload
from streams.schemas.writer_schema import Schema, WriterSchema

_Reading = tuple[Front, PayloadReader]

_write: Final[Any] = fastavro.schemaless_writer


class Codec:
    """Encodes by the catalogue's types; decodes any id that the catalogue or a source knows."""

    def __init__(self, catalogue: Catalogue, sources: Sequence[SchemaSource] = ()) -> None:
        self.catalogue = catalogue
        self._sources = sources
        self._found: dict[int, WriterSchema] = {}
        # By the frame's bytes; no more of them than there are schemas.
        self._readings: dict[bytes, _Reading] = {}
        self._frames: dict[str, bytes] = {}

    def encode(self, envelope: Envelope) -> bytes:
        """The framed value of a stamped envelope.

        The fields' types are checked first, then their bounds, then the payload. Raises
        `InvalidEnvelope`, `UnknownType` or `InvalidPayload`; nothing is written then.
        """
        event_type = self.catalogue.type(envelope.type)
        writer, payload = event_type.writer, envelope.payload
        front = _fast(writer.prefix_encoder, envelope)
        if front is None:
            fields = msgspec.structs.asdict(envelope)
            del fields["payload"]
            try:
                front = _slow(writer.prefix, writer.prefix_shape, fields)
            except _Misfit as misfit:
                raise InvalidEnvelope(misfit.path, misfit.problem) from misfit.__cause__
        check(envelope)
        if type(payload) is StoredPayload and payload.writer.id == writer.id:
            return b"".join((self._frame(event_type), *front, payload.raw))
        if not isinstance(payload, Mapping):
            raise InvalidPayload(event_type.name, "payload", f"{payload!r} is not a mapping")
        fields = payload if type(payload) is dict else dict(payload)
        body = _fast(writer.payload_encoder, fields)
        if body is None:
            try:
                body = _slow(writer.payload, writer.payload_shape, fields)
            except _Misfit as misfit:
                raise InvalidPayload(
                    event_type.name, misfit.path, misfit.problem
                ) from misfit.__cause__
        return b"".join((self._frame(event_type), *front, *body))

    def _frame(self, event_type: EventType) -> bytes:
        found = self._frames.get(event_type.name)
        if found is None:
            found = self._frames[event_type.name] = frame(event_type.schema_id)
        return found

    def decode(self, value: bytes | None, headers: Iterable[tuple[str, bytes]] = ()) -> Envelope:
        """The envelope of a record's value; its payload decodes on first touch.

        Envelope fields that an old writer lacks get our defaults, fields that we do not know are
        dropped. Raises `UnknownSchema` for an id nobody knows, `DecodeError` for anything else
        that cannot be read.
        """
        if value is None:
            raise DecodeError("the record has no value (a tombstone)")
        reading, start = self._readings.get(value[:PREFIX_LENGTH]), PREFIX_LENGTH
        if reading is None:
            reading, start = self._find_reading(value, headers)
        front, reader = reading
        try:
            return front(value, start, reader)
        except BAD_BYTES as error:
            raise DecodeError(f"value of schema id {reader.writer.id}: {why(error)}") from error

    def _find_reading(
        self, value: bytes, headers: Iterable[tuple[str, bytes]]
    ) -> tuple[_Reading, int]:
        """How a value is read, and where in it the body begins: its own frame first, if that can be
        read. Headers cost more to look at than a value to decode, and no envelope of ours begins
        like a frame: its id is not empty.
        """
        try:
            return self._reading(unframe(value)[0]), PREFIX_LENGTH
        except DecodeError:
            schema_id, start = unframe(value, headers)
            if start:
                raise
            return self._reading(schema_id), start

    def _reading(self, schema_id: int) -> _Reading:
        framed = frame(schema_id)
        found = self._readings.get(framed)
        if found is None:
            writer = self.writer_schema(schema_id)
            try:
                found = writer.front, PayloadReader(self.catalogue.way_up(writer))
            except (ValueError, LookupError, TypeError, RecursionError) as error:
                raise DecodeError(f"schema id {schema_id} is not an envelope's: {error}") from error
            self._readings[framed] = found
        return found

    def writer_schema(self, schema_id: int) -> WriterSchema:
        """What an id stands for: from the catalogue, else from the first source that knows it.

        A version of ours that a registry gave another id is that version: it has our id then.
        """
        writer = self.catalogue.by_id(schema_id) or self._found.get(schema_id)
        if writer is not None:
            return writer
        for source in self._sources:
            text = source.writer_schema(schema_id)
            if text is not None:
                writer = WriterSchema.from_text(schema_id, text)
                writer = self.catalogue.known_as(writer.schema) or writer
                self._found[schema_id] = writer
                return writer
        raise UnknownSchema(schema_id)


class _Misfit(Exception):
    """A value has no place in the schema, and where."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(problem)
        self.path = path
        self.problem = problem


def _fast(encoder: Encoder | None, value: Any) -> list[bytes] | None:
    """The pieces of the value's Avro body; None if only the slow way can say whether it fits."""
    if encoder is None:
        return None
    pieces: list[bytes] = []
    try:
        encoder(value, pieces.append)
    except UNUSUAL:
        return None
    return pieces


def _slow(schema: Schema, shape: Any | None, fields: dict[str, Any]) -> list[bytes]:
    """The same by fastavro, after a check. Raises `_Misfit` where a value does not fit."""
    buffer = BytesIO()
    try:
        if shape is None:
            if misfit := find_misfit(schema, fields):
                raise _Misfit(*misfit)
        else:
            msgspec.convert(fields, shape)
        _write(buffer, schema, fields)
    except UNUSUAL as error:
        found = find_misfit(schema, fields) or Misfit("payload", str(error))
        raise _Misfit(*found) from error
    return [buffer.getvalue()]
