"""Data of a schema, as bytes, without any library: what a writer of it may have written.

Each value is drawn anew, but so that every branch and every symbol comes in its turn. Texts and
bytes are ASCII, so that the one can be read as the other.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Final

from streams.schemas.compatibility.model import (
    Array,
    AvroType,
    Enum,
    Fixed,
    Map,
    ParsedSchema,
    Primitive,
    Record,
    Union,
)

DEPTH_MAX: Final = 12
"""Beyond this, a value is the least deep one that there is."""
_ENDLESS: Final = 1_000_000


class Data:
    """Values of one schema, each as its Avro body; none, if every value would be endless."""

    def __init__(self, schema: ParsedSchema, random: Random) -> None:
        self._random = random
        self._root = schema.root
        self._turns: dict[int, int] = {}
        self._depths: dict[int, int] = {}
        while self._deepen(schema):
            pass
        self.is_endless = self._least(self._root) >= _ENDLESS

    def value(self) -> bytes:
        """One more value."""
        out: list[bytes] = []
        self._write(self._root, out, 0)
        return b"".join(out)

    def _deepen(self, schema: ParsedSchema) -> bool:
        """One round towards how deep each record's least deep value is."""
        changed = False
        for named in schema.named.values():
            if isinstance(named, Record):
                least = 1 + max(
                    (self._least(field.type) for field in named.fields.values()), default=0
                )
                if least < self._depths.get(id(named), _ENDLESS):
                    self._depths[id(named)] = least
                    changed = True
        return changed

    def _least(self, type_: AvroType) -> int:
        if isinstance(type_, Record):
            return self._depths.get(id(type_), _ENDLESS)
        if isinstance(type_, Union):
            return min((self._least(branch) for branch in type_.branches), default=_ENDLESS)
        return _ENDLESS if isinstance(type_, Enum) and not type_.symbols else 0

    def _turn(self, type_: AvroType, among: int) -> int:
        """Each in its turn, with a jump now and then so that two that go in step part."""
        turn = self._turns.get(id(type_), self._random.randrange(among)) + 1
        turn += self._random.random() < 0.2
        self._turns[id(type_)] = turn
        return turn % among

    def _write(self, type_: AvroType, out: list[bytes], depth: int) -> None:
        match type_:
            case Primitive():
                out.append(self._primitive(type_))
            case Fixed():
                out.append(self._random.randbytes(type_.size))
            case Enum():
                out.append(_long(self._turn(type_, len(type_.symbols))))
            case Record():
                for field in type_.fields.values():
                    self._write(field.type, out, depth + 1)
            case Union():
                self._union(type_, out, depth)
            case Array():
                self._block(type_.items, out, depth, keys=False)
            case Map():
                self._block(type_.values, out, depth, keys=True)

    def _union(self, union: Union, out: list[bytes], depth: int) -> None:
        depths = [self._least(branch) for branch in union.branches]
        index = self._turn(union, len(depths))
        if depth > DEPTH_MAX or depths[index] >= _ENDLESS:
            index = depths.index(min(depths))
        out.append(_long(index))
        self._write(union.branches[index], out, depth)

    def _block(self, held: AvroType, out: list[bytes], depth: int, *, keys: bool) -> None:
        count = self._random.choice((0, 1, 1, 2))
        if depth > DEPTH_MAX or self._least(held) >= _ENDLESS:
            count = 0
        if count:
            out.append(_long(count))
        for n in range(count):
            if keys:
                out.append(_long(1) + bytes([97 + n]))
            self._write(held, out, depth + 1)
        out.append(_long(0))

    def _primitive(self, primitive: Primitive) -> bytes:
        random = self._random
        match primitive.kind:
            case "null":
                return b""
            case "boolean":
                return bytes([random.randrange(2)])
            case "int":
                # Small where it is a date, which Python has few of.
                return _long(random.randint(-100, 100) if primitive.logical else _any(random, 31))
            case "long":
                small = primitive.logical is not None
                return _long(random.randint(0, 1 << 40) if small else _any(random, 63))
            case "float":
                return struct.pack("<f", random.choice((0.5, -3.0, 1e9)))
            case "double":
                return struct.pack("<d", random.choice((0.1, -3.0, 1e300)))
            case _:
                text = random.choice((b"", b"a", b"text"))
                return _long(len(text)) + text


def _any(random: Random, bits: int) -> int:
    return random.choice((0, 1, -1, (1 << bits) - 1, -(1 << bits), random.getrandbits(bits)))


def _long(value: int) -> bytes:
    """Avro's zig-zag coding (section "Binary Encoding")."""
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
