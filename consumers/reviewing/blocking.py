"""What stands against merging: each with the rule that a waiver in `subjects.toml` may name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from typing import Final

import msgspec

from consumers.reviewing.sites import Happening
from consumers.reviewing.verdict import Version
from streams.schemas.compatibility import FindingKind, ModeReport, Severity
from streams.schemas.lint import Problem
from streams.schemas.subjects import Waiver

BLOCKING: Final = (Happening.FAILED, Happening.VALUE_CHANGED)
"""What must happen to no stored record; waivers name these as rules."""
RULES: Final = (*FindingKind, *BLOCKING)
"""What waivers may name beside the rules of lint."""
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
