"""The Confluent wire format: how a value says which schema wrote it.

A value is byte 0, the schema's id as 4 bytes big-endian, then the Avro body (Confluent Schema
Registry, "Wire format"). Readers also accept the header form: the id in the Kafka header
`__value_schema_id`, framed the same way, and a value that is the bare body. Where a record has
both, `Codec` believes a frame of a schema that it knows, and looks for no header.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from streams.errors import DecodeError

MAGIC: Final = 0
PREFIX_LENGTH: Final = 5
SCHEMA_ID_HEADER: Final = "__value_schema_id"

_ID = struct.Struct(">BI")


def frame(schema_id: int, body: bytes = b"") -> bytes:
    """The body behind its 5-byte prefix."""
    return _ID.pack(MAGIC, schema_id) + body


def unframe(value: bytes, headers: Iterable[tuple[str, bytes]] = ()) -> tuple[int, int]:
    """The writer schema's id, and where in `value` the Avro body begins.

    Raises `DecodeError` when neither the headers nor the value carry an id.
    """
    for name, framed in headers:
        if name == SCHEMA_ID_HEADER:
            # (Kafka allows a header without a value.)
            return _read_id(framed or b"", f"header {SCHEMA_ID_HEADER}"), 0
    return _read_id(value, "value"), PREFIX_LENGTH


def _read_id(framed: bytes, what: str) -> int:
    if len(framed) < PREFIX_LENGTH:
        raise DecodeError(
            f"{what} has {len(framed)} bytes; a Confluent-framed one has at least {PREFIX_LENGTH}"
        )
    magic, schema_id = _ID.unpack_from(framed)
    if magic == 1:
        raise DecodeError(f"{what} names its schema by GUID (byte 1); only ids (byte 0) are read")
    if magic != MAGIC:
        raise DecodeError(f"{what} begins with byte {magic}, not with the 0 of Confluent's format")
    return int(schema_id)
