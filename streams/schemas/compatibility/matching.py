"""Matching: whether a reader's type takes a writer's at all, one look, without their fields.

This is what chooses a union's branch (section "Schema Resolution"): the first of the reader's that
matches, and no second try if that one fails further down. Named types match by their unqualified
names, or where the reader has the writer's full name as an alias.
"""

from __future__ import annotations

from typing import NamedTuple

from streams.schemas.compatibility.findings import FindingKind
from streams.schemas.compatibility.model import (
    Array,
    AvroType,
    Fixed,
    Map,
    Named,
    Primitive,
    Union,
    describe,
)
from streams.schemas.compatibility.names import unqualified
from streams.schemas.compatibility.promotions import PROMOTIONS


class Mismatch(NamedTuple):
    """Why two types do not match. It is put into words when somebody asks: most are never told."""

    kind: FindingKind
    writer: AvroType
    reader: AvroType

    def __str__(self) -> str:
        writer, reader = describe(self.writer), describe(self.reader)
        match self.kind:
            case FindingKind.NAME_MISMATCH:
                old = writer.rpartition(" ")[2]
                return (
                    f"{writer} was written, and {reader} has another name: rename it back, or give "
                    f"it the alias {old!r}"
                )
            case FindingKind.FIXED_SIZE_MISMATCH:
                assert isinstance(self.writer, Fixed)
                assert isinstance(self.reader, Fixed)
                return (
                    f"{writer} was written with {self.writer.size} bytes, and the reader's has "
                    f"{self.reader.size}"
                )
            case _:
                return f"{writer} was written, and {reader} is no type to read it as"


def mismatch(writer: AvroType, reader: AvroType) -> Mismatch | None:
    """Why a reader's type cannot take a writer's, looking at neither items nor fields."""
    if isinstance(writer, Union) or isinstance(reader, Union):
        return None
    if isinstance(writer, Primitive) and isinstance(reader, Primitive):
        if writer.kind == reader.kind or (writer.kind, reader.kind) in PROMOTIONS:
            return None
    elif writer.kind == reader.kind:
        return _named(writer, reader) if isinstance(writer, Named) else None
    return Mismatch(FindingKind.TYPE_MISMATCH, writer, reader)


def branch_mismatch(writer: AvroType, reader: AvroType) -> Mismatch | None:
    """The same for a union's branch: arrays and maps match if what they hold matches."""
    found = mismatch(writer, reader)
    if found is None and isinstance(writer, Array) and isinstance(reader, Array):
        return branch_mismatch(writer.items, reader.items)
    if found is None and isinstance(writer, Map) and isinstance(reader, Map):
        return branch_mismatch(writer.values, reader.values)
    return found


def is_same(writer: AvroType, reader: AvroType) -> bool:
    """Whether a reader that looks for the very same type first would stop here.

    Java's decoder does: a named type by its full name, any other by its kind.
    """
    if isinstance(writer, Named) and isinstance(reader, Named):
        by_name = writer.name == reader.name or writer.name in reader.aliases
        return writer.kind == reader.kind and by_name
    return writer.kind == reader.kind


def is_namesake(writer: AvroType, reader: AvroType) -> bool:
    """Whether two named types of different kinds share their name, which fastavro goes by alone."""
    if not (isinstance(writer, Named) and isinstance(reader, Named)) or writer.kind == reader.kind:
        return False
    return unqualified(writer.name) == unqualified(reader.name) or writer.name in reader.aliases


def _named(writer: Named, reader: AvroType) -> Mismatch | None:
    assert isinstance(reader, Named)
    same = unqualified(writer.name) == unqualified(reader.name)
    if not same and writer.name not in reader.aliases:
        return Mismatch(FindingKind.NAME_MISMATCH, writer, reader)
    if isinstance(writer, Fixed) and isinstance(reader, Fixed) and writer.size != reader.size:
        return Mismatch(FindingKind.FIXED_SIZE_MISMATCH, writer, reader)
    return None
