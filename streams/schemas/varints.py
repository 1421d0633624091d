"""Varints: Avro's whole numbers, as the generated decoders read them.

A number is zig-zag coded, seven bits to a byte, the lowest first (Avro 1.12 specification,
"Primitive Types"). Most take one byte, and for those there are tables, indexed by that byte;
whatever a table answers with None goes to the functions here. They raise `IndexError` where the
bytes end, and `ValueError` for what is no number, or no length or branch that there can be.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Final, NoReturn

VARINT_BYTES_MAX: Final = 10
"""A 64-bit number takes at most so many bytes."""
ITEMS_OF_NOTHING_MAX: Final = 65_536
"""Items of an array that take no bytes each: the bytes themselves do not bound those."""

ONE_BYTE_LONGS: Final[tuple[int | None, ...]] = tuple(
    (n >> 1) ^ -(n & 1) if n < 0x80 else None for n in range(256)
)
ONE_BYTE_COUNTS: Final[tuple[int | None, ...]] = tuple(
    n >> 1 if n < 0x80 and not n & 1 else None for n in range(256)
)

_EIGHT: Final = struct.Struct("<Q").unpack_from
_CONTINUED: Final = 0x8080808080808080
_SEVEN_CONTINUED: Final = 0x0080808080808080
_UNSIGNED: Final = (1 << 64) - 1


def long_at(b: bytes, i: int) -> tuple[int, int]:
    """The number that begins at `i`, and where the next value begins."""
    second = b[i + 1] if b[i] > 0x7F else 0
    if second < 0x80:
        n = b[i] & 0x7F | second << 7
        return (n >> 1) ^ -(n & 1), i + (2 if b[i] > 0x7F else 1)
    if len(b) - i >= 8:
        (n,) = _EIGHT(b, i)
        if n & _CONTINUED == _SEVEN_CONTINUED:
            # Eight bytes, as a time in microseconds takes: the gaps close in three steps.
            n = n & 0x007F007F007F007F | (n & 0x7F007F007F007F00) >> 1
            n = n & 0x00003FFF00003FFF | (n & 0x3FFF00003FFF0000) >> 2
            n = n & 0x000000000FFFFFFF | n >> 4 & 0x00FFFFFFF0000000
            return (n >> 1) ^ -(n & 1), i + 8
    return _long_at(b, i)


def _long_at(b: bytes, i: int) -> tuple[int, int]:
    n = shift = 0
    for at in range(i, i + VARINT_BYTES_MAX):
        byte = b[at]
        n |= (byte & 0x7F) << shift
        if byte < 0x80:
            # What a tenth byte has beyond 64 bits is dropped, as fastavro and Avro's Java do.
            n &= _UNSIGNED
            return (n >> 1) ^ -(n & 1), at + 1
        shift += 7
    raise ValueError(f"a number has more than {VARINT_BYTES_MAX} bytes")


def span_at(b: bytes, i: int) -> tuple[int, int]:
    """Where the string or bytes whose length stands at `i` begin and end."""
    length, i = long_at(b, i)
    if length < 0:
        raise ValueError(f"a length is {length}")
    return i, i + length


def count_at(b: bytes, i: int) -> tuple[int, int]:
    """How many items the block has whose count stands at `i`, and where the first begins.

    A negative count is followed by the block's size in bytes, which only who skips it needs.
    """
    count, i = long_at(b, i)
    if count < 0:
        _, i = long_at(b, i)
    return abs(count), i


def index_at(b: bytes, i: int, length: int, what: str) -> tuple[int, int]:
    """The place in a union's branches or an enum's symbols that stands at `i`."""
    index, i = long_at(b, i)
    if not 0 <= index < length:
        raise ValueError(f"{what} {index} of {length}")
    return index, i


def symbol_at(b: bytes, i: int, symbols: Sequence[Any]) -> tuple[Any, int]:
    """The symbol whose place stands at `i`."""
    index, i = index_at(b, i, len(symbols), "symbol")
    return symbols[index], i


def no_more_than(count: int) -> None:
    """Refuse a block that would fill the memory with items of no bytes."""
    if count > ITEMS_OF_NOTHING_MAX:
        raise ValueError(f"{count} items that take no bytes")


def wrong_end(b: bytes, i: int) -> NoReturn:
    """Refuse bytes whose value ends elsewhere than they do."""
    if i > len(b):
        raise EOFError(f"{i - len(b)} bytes are missing")
    raise ValueError(f"{len(b) - i} bytes are left over")
