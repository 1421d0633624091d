"""Decoders: Python source made from a schema, compiled once, as dataclasses do it.

fastavro walks the schema anew for each value, and reads each byte through a buffer's method. A
decoder made for one schema holds nothing but the steps of that schema, on local variables:

    def decode(b, i):                        # {"name": "note", "type": ["null", "string"]}
        v1 = None
        n = b[i]
        i += 1
        if n:
            if n != 2:
                n, i = index_at(b, i - 1, 2, 'branch')
            if n:
                s = i + 1
                n = COUNTS[b[i]]
                if n is None: s, i = span_at(b, i)
                else: i = s + n
                v1 = b[s:i].decode()
        v0 = {'note': v1}
        if i != len(b): wrong_end(b, i)
        return v0

It reads what fastavro reads, as the same values. It refuses more: numbers of more than ten bytes,
places in a union or an enum that are negative (fastavro counts them from the end), a block of
-2⁶³ items, and arrays of more than `ITEMS_OF_NOTHING_MAX` items that take no bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final

from streams.schemas.steps import Steps

Decoder = Callable[[bytes, int], Any]
"""Bytes, and where the value begins, which must reach to their end → the value."""

BAD_BYTES: Final = (
    EOFError,
    ValueError,  # invalid UTF-8 among them
    LookupError,
    TypeError,
    ArithmeticError,  # a time beyond the year 9999 among them
    RecursionError,
    struct.error,
)
"""What a decoder raises on bytes that its schema did not write."""


def why(error: Exception) -> str:
    """What is wrong with the bytes, in words."""
    early = isinstance(error, (IndexError, struct.error))
    return "the bytes end too early" if early else str(error)


def decoder_of(schema: Any, *, within: Any = None) -> Decoder:
    """The decoder of a (parsed) schema's values, equal to what fastavro reads.

    `within` is the schema that defines what this one, a part of it, only names.
    """
    steps = Steps(schema if within is None else within)
    steps.begin("decode(b, i)")
    steps.value(schema, "v0", 1)
    steps.add(1, "if i != len(b): wrong_end(b, i)")
    steps.add(1, "return v0")
    decode: Decoder = steps.compiled("decode")
    return decode
