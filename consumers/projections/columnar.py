"""Record values to columns: many envelopes decoded at once, by DataFusion's Avro reader.

Values of one writer schema, one after the other, are the body of an Avro object container block.
The reader is given the writer schema with the five framing bytes in front as an Avro `fixed`: so
values join as they are, and a frame that is not where it must be betrays a damaged value whose
neighbour was misread with it.

A schema id is decoded so only where it is what the catalogue writes today, for then writer and
reader schema are one. Whatever else there is (other ids, the header form, tombstones, a block
that fails, or whose frames do not match) is left to the caller, record by record. All envelope
fields are decoded, even those that nobody asks for: a value that the codec would refuse must fail
here too. The payload is passed over, as in the codec's own prefix decode.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import pyarrow as pa
import pyarrow.compute as pc
from datafusion import SessionConfig, SessionContext

from streams.schemas import Codec
from streams.schemas.framing import PREFIX_LENGTH, frame
from streams.schemas.writer_schema import PAYLOAD_FIELD, WriterSchema

_FRAME: Final = "agentlog_frame"
_SYNC: Final = bytes(16)
_MAGIC: Final = b"Obj\x01"


class Rows(NamedTuple):
    """Some envelopes of one topic (full name) in columns, with what their records add."""

    topic: str
    table: pa.Table
    """The envelope's fields, without the payload."""
    keys: Sequence[bytes | None]
    appended_at_ms: Sequence[int]


class Block(NamedTuple):
    """Envelopes of one writer schema, in columns."""

    indices: list[int]
    """Where each row was among the values given."""
    table: pa.Table


class Decoded(NamedTuple):
    """What became of some values."""

    blocks: list[Block]
    rest: list[int]
    """Indices of the values that must be decoded record by record, ascending."""


class ColumnDecoder:
    """Decodes values of the catalogue's current writer schemas. One thread at a time.

    A context manager: it owns a temporary folder, for DataFusion reads files.
    """

    def __init__(self, codec: Codec) -> None:
        self._schemas = {
            frame(event.schema_id): event.writer for event in codec.catalogue.types.values()
        }
        self._headers: dict[bytes, bytes] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="agentlog-columns-")
        # One target partition: rows come back in the order that they were written.
        self._context = SessionContext(SessionConfig().with_target_partitions(1))
        self._blocks = 0

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """The values' envelopes, in columns where that can be."""
        framings = [value[:PREFIX_LENGTH] if value else b"" for value in values]
        blocks = []
        rest = [index for index, found in enumerate(framings) if found not in self._schemas]
        for framing in self._schemas.keys() & set(framings):
            indices = [index for index, found in enumerate(framings) if found == framing]
            joined = b"".join([values[index] or b"" for index in indices])
            table = self._table(framing, joined, len(indices))
            if table is None:
                rest += indices
            else:
                blocks.append(Block(indices, table))
        return Decoded(blocks, sorted(rest))

    def close(self) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _table(self, framing: bytes, joined: bytes, count: int) -> pa.Table | None:
        """One block's rows; None unless each of them is plainly there."""
        self._blocks += 1
        path = Path(self._folder.name) / f"{self._blocks}.avro"
        with path.open("wb") as file:
            file.write(self._header(framing))
            file.write(_zigzag(count) + _zigzag(len(joined)))
            file.write(joined)
            file.write(_SYNC)
        try:
            names = [_FRAME, *sorted(self._schemas[framing].prefix_names)]
            batches = self._context.read_avro(str(path)).select(*names).collect()
            table = pa.Table.from_batches(batches)
        except Exception:  # noqa: BLE001  # whatever it says, the codec says it better, per record
            return None
        finally:
            path.unlink()
        frames = table.column(_FRAME)
        if table.num_rows != count or not pc.all(
            pc.equal(frames, pa.scalar(framing, frames.type))
        ).as_py():
            return None
        return table.drop_columns([_FRAME])

    def _header(self, framing: bytes) -> bytes:
        found = self._headers.get(framing)
        if found is None:
            found = self._headers[framing] = container_header(self._schemas[framing])
        return found


def container_header(writer: WriterSchema) -> bytes:
    """Header of an Avro object container file of framed values (Avro 1.12, Object Container Files).

    Logical types are dropped, so that times stay integers as the codec leaves them.
    """
    fields = writer.prefix["fields"]
    payload = writer.schema["fields"][-1]
    fixed = {"type": "fixed", "name": _FRAME, "size": PREFIX_LENGTH}
    schema = json.dumps({
        "type": "record",
        "name": writer.schema["name"],
        "namespace": writer.schema.get("namespace", ""),
        "fields": [{"name": _FRAME, "type": fixed}, *_plain(fields),
                   {"name": PAYLOAD_FIELD, "type": payload["type"]}],
    }).encode()
    return b"".join((
        _MAGIC, _zigzag(2), _text(b"avro.schema"), _text(schema),
        _text(b"avro.codec"), _text(b"null"), _zigzag(0), _SYNC,
    ))


def _plain(schema: Any) -> Any:
    """A parsed schema as JSON again: fastavro's own marks removed."""
    if isinstance(schema, list):
        return [_plain(branch) for branch in schema]
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items()
                if not key.startswith("__fastavro")}
    return schema


def _zigzag(number: int) -> bytes:
    number <<= 1  # never negative here
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _text(raw: bytes) -> bytes:
    return _zigzag(len(raw)) + raw
