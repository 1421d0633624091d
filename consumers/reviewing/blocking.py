"""What stands against merging: each with the rule that a waiver in `subjects.toml` may name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final

import msgspec

from consumers.reviewing.sites import Happening
from consumers.reviewing.verdict import Version
from consumers.usage import Reader
from streams.schemas.compatibility import FindingKind, ModeReport, Severity
from streams.schemas.lint import Problem
from streams.schemas.subjects import REMOVED, Waiver

BLOCKING: Final = (Happening.FAILED, Happening.VALUE_CHANGED)
"""What must happen to no stored record; waivers name these as rules."""
RULES: Final = (*FindingKind, *BLOCKING, REMOVED)
"""What waivers may name beside the rules of lint."""
READERS_MAX: Final = 3
"""Readers of a type that is gone that are named; the review lists all."""
_BRANCH: Final = re.compile(r"[|→][A-Za-z_][A-Za-z0-9_]*")


class Block(msgspec.Struct, frozen=True):
    """One thing that stands against merging, unless it is waived."""

    rule: str
    path: str
    message: str
    waiver: Waiver | None = None


def plain_path(path: str) -> str:
    """A finding's path as waivers write it: fields alone, without the root and branches."""
    return _BRANCH.sub("", path).removeprefix("$").removeprefix(".")


def blocks_of(
    mode: ModeReport,
    versions: Sequence[Version],
    problems: Iterable[Problem],
    waivers: Iterable[Waiver],
    today: date,
) -> tuple[Block, ...]:
    """All that stands against one type, in the order of how it was found, each once."""
    holding = [waiver for waiver in waivers if waiver.holds(today)]
    found = [*_of_mode(mode), *_of_records(versions)]
    waived = [
        msgspec.structs.replace(one, waiver=_waiver(one, holding)) for one in dict.fromkeys(found)
    ]
    # Waivers of lint were looked at where it was done.
    return (*waived, *(Block(one.rule, one.path, one.message) for one in problems))


def block_of_removal(
    versions: Sequence[Version],
    readers: Sequence[Reader],
    waivers: Iterable[Waiver],
    today: date,
) -> tuple[Block, ...]:
    """What stands against it that a type goes: records that are stored of it, code that reads."""
    rests_on = []
    if stored := sum(version.stored for version in versions):
        first = min(one.observed.first for one in versions if one.observed and one.observed.first)
        are = "record of it is" if stored == 1 else "records of it are"
        rests_on.append(
            f"{stored:,} {are} stored, first {first}, and would be read as written, each by its "
            "own version"
        )
    if readers:
        named = [f"{one.kind} {one.owner}.{one.name}" for one in readers[:READERS_MAX]]
        more = [f"{len(readers) - READERS_MAX} more"] if len(readers) > READERS_MAX else []
        rests_on.append(f"it is read by {', '.join([*named, *more])}")
    if not rests_on:
        return ()
    about = [waiver for waiver in waivers if waiver.covers(REMOVED, "")]
    waiver = next((one for one in about if one.holds(today)), None)
    if about and waiver is None:
        last = max(about, key=lambda one: one.expires)
        rests_on.append(f"waived until {last.expires}; {last.owner} decides")
    return (Block(REMOVED, "$", "; ".join(rests_on), waiver),)


def _of_mode(mode: ModeReport) -> Iterator[Block]:
    for check in mode.checks:
        for finding in check.report.findings:
            if finding.severity is Severity.ERROR:
                yield Block(finding.kind, finding.path, finding.message)


def _of_records(versions: Sequence[Version]) -> Iterator[Block]:
    for version in versions:
        for happening, path, seen in version.seen():
            if happening in BLOCKING:
                yield Block(happening, path, _told(version, happening, seen.count))


def _told(version: Version, happening: Happening, count: int) -> str:
    what = "cannot be read" if happening is Happening.FAILED else "are read as another value"
    return f"{count:,} of {version.stored:,} stored records of {version.label} {what}"


def _waiver(block: Block, waivers: Sequence[Waiver]) -> Waiver | None:
    path = plain_path(block.path)
    return next((waiver for waiver in waivers if waiver.covers(block.rule, path)), None)
