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
from collections import defaultdict
from collections.abc import Callable, Sequence
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
_BATCH_ROWS_FEW: Final = 256
_BATCH_ROWS_MANY: Final = 4096
_MANY: Final = 8_192
"""Rows from which the larger batches pay for the guard rows that fill the last of them."""
_GUARD: Final = b"GUARD"
"""Frame of the rows behind the last one: see `ColumnDecoder`."""


class Rows(NamedTuple):
    """Some envelopes of one topic (full name) in columns, with what their records add."""

    topic: str
    table: pa.Table
    """The envelope's fields, without the payload."""
    appended_at_ms: Sequence[int]
    keys: Callable[[], Sequence[bytes | None]]
    """A function, for most folds need no keys and to collect them takes its time."""


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

    arrow-avro never comes back from a block that has bytes left behind its last row (measured,
    DataFusion 55), and a damaged value leaves some. So the last value is followed by guard rows
    (the first value under another frame) up to a whole batch, the block claims one row more, and
    the query stops at that batch's end: it never gets to where it would hang, and a guard that is
    not in its place tells of the damage. A context manager: it owns a temporary folder, for
    DataFusion reads files.
    """

    def __init__(self, codec: Codec) -> None:
        self._schemas = {
            frame(schema_id): event.writer
            for event in codec.catalogue.types.values()
            for schema_id in (event.writer.id, event.schema_id)
        }
        self._headers: dict[bytes, bytes] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="agentlog-columns-")
        # One target partition: rows come back in the order that they were written.
        self._contexts = {
            rows: SessionContext(SessionConfig().with_target_partitions(1).with_batch_size(rows))
            for rows in (_BATCH_ROWS_FEW, _BATCH_ROWS_MANY)
        }
        self._blocks = 0

    def decode(self, values: Sequence[bytes | None]) -> Decoded:
        """The values' envelopes, in columns where that can be."""
        by_framing: defaultdict[bytes, list[int]] = defaultdict(list)
        for index, value in enumerate(values):
            by_framing[value[:PREFIX_LENGTH] if value else b""].append(index)
        blocks, rest = [], []
        for framing, indices in by_framing.items():
            if framing not in self._schemas:
                rest += indices
                continue
            joined = b"".join([values[index] or b"" for index in indices])
            first = values[indices[0]] or b""
            table = self._table(framing, first, joined, len(indices))
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

    def _table(self, framing: bytes, first: bytes, joined: bytes, count: int) -> pa.Table | None:
        """One block's rows; None unless each of them is plainly there."""
        rows = _BATCH_ROWS_FEW if count < _MANY else _BATCH_ROWS_MANY
        total = -(-(count + 1) // rows) * rows
        guards = (_GUARD + first[PREFIX_LENGTH:]) * (total - count)
        self._blocks += 1
        path = Path(self._folder.name) / f"{self._blocks}.avro"
        with path.open("wb") as file:
            file.write(self._header(framing))
            file.write(_zigzag(total + 1) + _zigzag(len(joined) + len(guards)))
            file.write(joined)
            file.write(guards)
            file.write(_SYNC)
        try:
            names = [_FRAME, *sorted(self._schemas[framing].prefix_names)]
            found = self._contexts[rows].read_avro(str(path)).select(*names).limit(total)
            table = pa.Table.from_batches(found.collect())
        except Exception:  # noqa: BLE001  # whatever it says, the codec says it better, per record
            return None
        finally:
            path.unlink()
        frames = table.column(_FRAME)
        if table.num_rows != total or not (
            _are(frames.slice(0, count), framing) and _are(frames.slice(count), _GUARD)
        ):
            return None
        return table.slice(0, count).drop_columns([_FRAME])

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
    schema = json.dumps(
        {
            "type": "record",
            "name": writer.schema["name"],
            "namespace": writer.schema.get("namespace", ""),
            "fields": [
                {"name": _FRAME, "type": fixed},
                *_plain(fields),
                {"name": PAYLOAD_FIELD, "type": payload["type"]},
            ],
        }
    ).encode()
    return b"".join(
        (
            _MAGIC,
            _zigzag(2),
            _text(b"avro.schema"),
            _text(schema),
            _text(b"avro.codec"),
            _text(b"null"),
            _zigzag(0),
            _SYNC,
        )
    )


def _are(frames: Any, framing: bytes) -> bool:
    return bool(pc.all(pc.equal(frames, pa.scalar(framing, frames.type))).as_py())


def _plain(schema: Any) -> Any:
    """A parsed schema as JSON again: fastavro's own marks removed."""
    if isinstance(schema, list):
        return [_plain(branch) for branch in schema]
    if isinstance(schema, dict):
        return {
            key: _plain(value) for key, value in schema.items() if not key.startswith("__fastavro")
        }
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
