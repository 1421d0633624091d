"""Modes: which versions must read which, as a table.

A mode is pairs (reader, writer) over the versions that there are and the candidate. BACKWARD: the
candidate reads what the latest wrote (upgrade readers first). FORWARD: the latest reads what the
candidate writes (upgrade writers first). FULL: both. `_TRANSITIVE`: all versions for the latest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

import msgspec

from streams.schemas.compatibility.findings import Report
from streams.schemas.compatibility.model import ParsedSchema
from streams.schemas.compatibility.pairs import compare
from streams.schemas.compatibility.parsing import parse_schema


class Mode(StrEnum):
    """What a subject promises, by the names that schema registries use."""

    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"
    NONE = "NONE"


class _Promise(NamedTuple):
    candidate_reads: bool
    candidate_is_read: bool
    all_versions: bool


_PROMISES: Final[Mapping[Mode, _Promise]] = {
    Mode.BACKWARD: _Promise(True, False, False),
    Mode.BACKWARD_TRANSITIVE: _Promise(True, False, True),
    Mode.FORWARD: _Promise(False, True, False),
    Mode.FORWARD_TRANSITIVE: _Promise(False, True, True),
    Mode.FULL: _Promise(True, True, False),
    Mode.FULL_TRANSITIVE: _Promise(True, True, True),
    Mode.NONE: _Promise(False, False, False),
}


class Check(msgspec.Struct, frozen=True):
    """One reader and one writer, as indexes into the versions; the candidate comes after them."""

    reader: int
    writer: int
    report: Report


class ModeReport(msgspec.Struct, frozen=True):
    """All that a mode asks of a candidate."""

    mode: Mode
    checks: tuple[Check, ...]

    @property
    def compatible(self) -> bool:
        """Whether the candidate keeps the mode's promise."""
        return all(check.report.compatible for check in self.checks)


def pairs_of(mode: Mode, versions: int) -> list[tuple[int, int]]:
    """The (reader, writer) indexes that a mode asks for; `versions` is the candidate's index."""
    reads, is_read, all_versions = _PROMISES[mode]
    found = []
    for earlier in range(0 if all_versions else max(versions - 1, 0), versions):
        found += [(versions, earlier)] * reads + [(earlier, versions)] * is_read
    return found


def check_mode(mode: Mode, versions: Sequence[Any], candidate: Any) -> ModeReport:
    """Whether a candidate keeps a mode's promise to the versions before it, oldest first.

    Schemas are JSON or `ParsedSchema`. Raises `InvalidSchema`.
    """
    schemas = [_parsed(version, released=True) for version in versions]
    schemas.append(_parsed(candidate, released=False))
    return ModeReport(
        mode,
        tuple(
            Check(reader, writer, compare(schemas[writer], schemas[reader]))
            for reader, writer in pairs_of(mode, len(versions))
        ),
    )


def _parsed(schema: Any, *, released: bool) -> ParsedSchema:
    return schema if isinstance(schema, ParsedSchema) else parse_schema(schema, released=released)
