"""Checking: the types of a schemas folder, as their files are now, against what was released.

A type's versions are those of the lock; a file that says what the last of them says is that one,
and is checked against those before it. The mode is the type's in `subjects.toml`, unless one is
asked for. A waiver there that names the kind of an error takes it out of the verdict, until it
expires; the finding stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Final, NamedTuple

from streams.schemas.compatibility import (
    Finding,
    Mode,
    ModeReport,
    Severity,
    check_mode,
    parse_schema,
)
from streams.schemas.compatibility.names import full_name
from streams.schemas.folders import SchemaFolder, parse_file
from streams.schemas.subjects import Waiver
from streams.schemas.writer_schema import fingerprint

NOW: Final = "now"
"""What a version is called that is not locked yet."""
_BRANCH: Final = re.compile(r"[|→][A-Za-z_][A-Za-z0-9_]*")


class Told(NamedTuple):
    """A finding, between which versions, and the waiver that it is under."""

    reader: str
    writer: str
    finding: Finding
    waiver: Waiver | None


class TypeCheck(NamedTuple):
    """What a mode asks of one type, and what was found."""

    type: str
    report: ModeReport
    versions: tuple[str, ...]
    """`v1`, `v2`, …, and at the end the one that was checked: `now` if it is not locked."""
    told: tuple[Told, ...]

    @property
    def compatible(self) -> bool:
        """Whether the promise is kept, but for what is waived."""
        return not any(
            one.finding.severity is Severity.ERROR and one.waiver is None for one in self.told
        )

    @property
    def is_released(self) -> bool:
        """Whether it is as it was locked."""
        return self.versions[-1] != NOW


def check_folder(
    folder: SchemaFolder, today: date, *, mode: Mode | None = None
) -> Iterator[TypeCheck]:
    """Each type of a folder against its own past; `today` is for the waivers.

    Raises `InvalidSchema` with file, line, column and path for a file that is no schema, and
    `ConfigurationError` for a folder that is not whole: no mode for a type, a lock that lies.
    """
    for name, file in folder.types.items():
        candidate = parse_file(file.path)
        released = folder.versions(name)
        called = [f"v{version.number}" for version in released]
        if released and fingerprint(released[-1].schema) == fingerprint(file.schema):
            released = released[:-1]
        else:
            called.append(NOW)
        report = check_mode(
            mode or folder.subjects.of(name).mode,
            [parse_schema(version.schema, released=True) for version in released],
            candidate,
        )
        waivers = folder.subjects.of(name).waivers if folder.has_subjects else ()
        holding = [waiver for waiver in waivers if waiver.holds(today)]
        yield TypeCheck(name, report, tuple(called), tuple(_told(report, called, holding)))


def removed_types(folder: SchemaFolder) -> tuple[str, ...]:
    """The released types that no file defines any more, nor has as an alias: nothing checks them.

    Raises `ConfigurationError` for a folder that is not whole.
    """
    known = set(folder.types)
    for file in folder.types.values():
        aliases = file.schema.get("aliases", ())
        known |= {full_name(alias, file.schema["namespace"]) for alias in aliases}
    return tuple(sorted({entry.type for entry in folder.lock.schemas} - known))


def _told(report: ModeReport, called: list[str], waivers: list[Waiver]) -> Iterator[Told]:
    for check in report.checks:
        for finding in check.report.findings:
            yield Told(
                called[check.reader], called[check.writer], finding, _under(finding, waivers)
            )


def _under(finding: Finding, waivers: list[Waiver]) -> Waiver | None:
    """The first waiver for it. Paths of waivers go by fields alone: no root, no branches."""
    path = _BRANCH.sub("", finding.path).removeprefix("$").removeprefix(".")
    return next((waiver for waiver in waivers if waiver.covers(finding.kind, path)), None)
