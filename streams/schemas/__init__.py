"""Schemas: which event types there are, under which ids they are written, and the bytes they make.

`schemas-avro/` is the source of truth. `Catalogue` loads it with its lock of ids; `Codec` turns
envelopes into Confluent-framed Avro values and back.
"""

from streams.schemas.catalogue import Catalogue, EventType
from streams.schemas.codec import Codec
from streams.schemas.framing import frame, unframe
from streams.schemas.stored import StoredPayload
from streams.schemas.upcasting import Upcasters
from streams.schemas.writer_schema import WriterSchema

__all__ = [
    "Catalogue",
    "Codec",
    "EventType",
    "StoredPayload",
    "Upcasters",
    "WriterSchema",
    "frame",
    "unframe",
]
