"""Verdict and evidence side by side: of each version and place, what both say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from consumers.reviewing.cells import BAD, GOOD, LATE, PLAIN, Cell, Section, many_of, table
from consumers.reviewing.evidence import Seen
from consumers.reviewing.review import TypeReview
from consumers.reviewing.sites import Happening
from consumers.reviewing.verdict import Version
from streams.schemas.compatibility import Finding, Severity

_BESIDE: Final = ("version", "where", "by the schemas", "on the log")
_HAPPENED: Final = {
    Happening.FAILED: "cannot be read",
    Happening.UNREADABLE: "cannot be read, today neither",
    Happening.VALUE_CHANGED: "read as another value",
    Happening.ENUM_SUBSTITUTED: "read as the enum's default",
    Happening.LOSSY_PROMOTION: "rounded",
    Happening.DEFAULTED: "get the default",
    Happening.APPEARED: "have a value that was not read until now",
    Happening.UPCAST: "raised to another value by the upcaster",
    Happening.MENDED: "cannot be read today, and can then",
}
_TONES: Final = {
    Happening.FAILED: BAD,
    Happening.VALUE_CHANGED: BAD,
    Happening.UNREADABLE: LATE,
    Happening.ENUM_SUBSTITUTED: LATE,
    Happening.LOSSY_PROMOTION: LATE,
}
_CHANGES: Final = frozenset({Happening.ENUM_SUBSTITUTED, Happening.LOSSY_PROMOTION})
_WORST_FIRST: Final = (BAD, LATE, PLAIN, GOOD)


def beside_section(one: TypeReview, *, looked: bool) -> Section:
    """The table of one type; `looked`: whether there is evidence at all."""
    return table("Verdict and evidence", _BESIDE, _beside(one, looked=looked))


def _beside(one: TypeReview, *, looked: bool) -> Iterator[tuple[Cell, ...]]:
    for version in one.versions:
        is_gone = one.change.after is None
        verdict = Cell("no type to read it as", LATE) if is_gone else _by_schemas(version)
        stored = _stored(version, looked=looked)
        if is_gone and version.observed is not None:
            stored = Cell(f"{stored.text}, first {version.observed.first}", BAD)
        yield (Cell(version.label), Cell(""), verdict, stored)
        findings: dict[str, list[Finding]] = {}
        for finding in version.report.findings:
            findings.setdefault(finding.path, []).append(finding)
        seen: dict[str, list[tuple[Happening, Seen]]] = {}
        for happening, path, one_seen in version.seen():
            seen.setdefault(path, []).append((happening, one_seen))
        rows = []
        for path in dict.fromkeys((*findings, *seen)):
            said, happened = findings.get(path, []), seen.get(path, [])
            if happened or any(it.severity is not Severity.INFO for it in said):
                on_log = _happened(happened, version, looked=looked)
                rows.append((Cell(""), Cell(path), _findings(said), on_log))
        yield from sorted(rows, key=lambda row: min(_WORST_FIRST.index(it.tone) for it in row))


def _by_schemas(version: Version) -> Cell:
    if version.has_step:
        return Cell("raised by an upcaster")
    kept = version.report.compatible
    return Cell("compatible" if kept else "incompatible", GOOD if kept else BAD)


def _stored(version: Version, *, looked: bool) -> Cell:
    if not looked:
        return Cell("not looked at")
    observed = version.observed
    if version.passed:
        return Cell(f"{many_of(version.passed, 'record')}, read as before", GOOD)
    if observed is None:
        return Cell("no record")
    text = f"{many_of(observed.records, 'record')}, {observed.decoded:,} decoded"
    if not observed.failed:
        return Cell(text, GOOD)
    today = f" ({observed.failed_today:,} fail today as well)" if observed.failed_today else ""
    tone = BAD if observed.failed > observed.failed_today else LATE
    return Cell(f"{text}, {observed.failed:,} failed{today}", tone)


def _findings(findings: Iterable[Finding]) -> Cell:
    tones = {Severity.ERROR: BAD, Severity.SEMANTIC: BAD, Severity.WARNING: LATE}
    found = list(findings)
    if not found:
        return Cell("–")
    text = "; ".join(f"{one.severity}: {one.message}" for one in found)
    known = {tones.get(one.severity, PLAIN) for one in found}
    return Cell(text, next((tone for tone in (BAD, LATE) if tone in known), PLAIN))


def _happened(
    happened: Sequence[tuple[Happening, Seen]], version: Version, *, looked: bool
) -> Cell:
    if not happened:
        none = "nothing happens" if version.stored else "no record"
        return Cell(none if looked else "not looked at", GOOD if version.stored else PLAIN)
    changed = next((it.count for what, it in happened if what is Happening.VALUE_CHANGED), 0)
    parts = [
        _told(what, it)
        for what, it in happened
        # What changes a value is told by it, unless it does not always do so.
        if it.count != changed or what not in _CHANGES
    ]
    known = {_TONES.get(happening, PLAIN) for happening, _ in happened}
    return Cell("; ".join(parts), next((tone for tone in (BAD, LATE) if tone in known), PLAIN))


def _told(happening: Happening, seen: Seen) -> str:
    first = seen.first
    text = f"{seen.count:,} {_HAPPENED[happening]}, first {first}"
    if first.why:
        return f"{text}: {first.why}"
    if happening is Happening.DEFAULTED:
        return f"{text}: {first.candidate}"
    return f"{text}: {first.today} → {first.candidate}" if first.candidate else text
