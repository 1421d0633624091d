"""A review in words, as sections that every format shows the same way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from consumers.differences import Difference
from consumers.reviewing.blocking import Block, plain_path
from consumers.reviewing.evidence import Seen
from consumers.reviewing.folding import Folded
from consumers.reviewing.gathering import Gathered
from consumers.reviewing.review import Review, TypeReview
from consumers.reviewing.sites import Happening, text_of
from consumers.reviewing.verdict import Need, Order, Version
from consumers.usage import Reader
from streams.schemas.compatibility import Finding, Severity

GOOD: Final = "good"
BAD: Final = "bad"
LATE: Final = "late"
PLAIN: Final = ""
ROWS_MAX: Final = 200
"""Rows of one table; JSON has them all."""

_BESIDE: Final = ("version", "where", "by the schemas", "on the log")
_READERS: Final = ("code", "where", "fields; * is changed")
_BLOCKS: Final = ("rule", "where", "why", "waiver")
_HAPPENED: Final = {
    Happening.FAILED: "cannot be read",
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
    Happening.ENUM_SUBSTITUTED: LATE,
    Happening.LOSSY_PROMOTION: LATE,
}


_CHANGES: Final = frozenset({Happening.ENUM_SUBSTITUTED, Happening.LOSSY_PROMOTION})
_WORST_FIRST: Final = (BAD, LATE, PLAIN, GOOD)
_MEANING: Final = (
    "a logical type is taken from the writer's schema, so what is stored is read as it was meant; "
    "readers that go by their own schema, as the specification says and Java does, get what is "
    "shown here"
)


class Cell(NamedTuple):
    """A text, and whether it is good or bad news."""

    text: str
    tone: str = PLAIN


class Section(NamedTuple):
    """A table with a title; without a head its rows are names and what is said of them."""

    title: str
    head: tuple[str, ...]
    rows: list[tuple[Cell, ...]]


def verdict_of(review: Review) -> Cell:
    """The whole review in a sentence."""
    if not review.types:
        return Cell("nothing changed", GOOD)
    count = sum(len(one.against) for one in review.types)
    if count:
        return Cell(f"not to be merged: {_many(count, 'thing')} against it", BAD)
    waived = sum(len(one.blocks) for one in review.types)
    said = f", with {_many(waived, 'thing')} waived" if waived else ""
    return Cell(f"fine{said}", GOOD)


def looked_at(review: Review) -> str:
    """What the evidence is of, in a sentence."""
    gathered = review.gathered
    if gathered is None:
        return f"by the schemas alone: {review.without}"
    return f"{_extent(gathered)}; {_records(gathered)}"


def type_sections(one: TypeReview, *, looked: bool) -> Iterator[Section]:
    """Everything on one type, the verdict first."""
    yield Section("", (), list(_summary(one)))
    if one.differences:
        yield _table("What changed", ("field", "change"), _changes(one))
    if one.versions:
        yield _table("Verdict and evidence", _BESIDE, _beside(one, looked=looked))
    if one.readers:
        yield _table("Who reads it", _READERS, (_reader(it, one) for it in one.readers))
    if one.blocks:
        yield _table("Against merging", _BLOCKS, map(_block, one.blocks))


def _table(title: str, head: tuple[str, ...], rows: Iterable[tuple[Cell, ...]]) -> Section:
    return Section(title, head, list(islice(rows, ROWS_MAX)))


def _changes(one: TypeReview) -> Iterator[tuple[Cell, ...]]:
    for it in one.differences:
        yield Cell(it.path or "(the type)"), Cell(it.message)


def fold_section(folds: Sequence[Folded]) -> Section:
    """The projections, folded under both."""
    rows = [row for one in folds for row in _fold(one)]
    return Section("Folds", ("projection", "under both readers"), rows)


def _extent(gathered: Gathered) -> str:
    if not gathered.is_sample:
        return f"the whole history, {gathered.positions:,} positions"
    return (
        f"a sample of {gathered.looked_at:,} of {gathered.positions:,} positions, in "
        f"{_many(gathered.spans, 'stretch', 'stretches')} spread evenly over "
        f"{_many(gathered.partitions, 'partition')}"
    )


def _records(gathered: Gathered) -> str:
    evidence = gathered.evidence
    passed, unknown = (
        sum(evidence.passed.values()),
        sum(one.count for one in evidence.unknown.values()),
    )
    text = f"{evidence.records:,} records, {passed:,} of types that are read as before"
    return f"{text}, {unknown:,} whose schema nobody knows" if unknown else text


def _summary(one: TypeReview) -> Iterator[tuple[Cell, ...]]:
    if one.mode is not None:
        kept = one.mode.compatible
        said = Cell(f"{one.mode.mode}: {'kept' if kept else 'broken'}", GOOD if kept else BAD)
        yield Cell("mode"), said
    if one.subject is not None:
        yield Cell("owner"), Cell(one.subject.owner or "nobody")
    if one.modes:
        kept_ones = [str(mode) for mode, kept in one.modes.items() if kept]
        yield Cell("modes it would keep"), Cell(", ".join(kept_ones))
    if (deployed := one.deployment) is not None:
        tone = {Order.EITHER: GOOD, Order.NEITHER: BAD}.get(deployed.order, LATE)
        yield Cell("deployment"), Cell(f"{deployed.order}: {deployed.reason}", tone)
        safe = deployed.rollback_safe
        back = f"safe{': ' if safe else ' '}{deployed.rollback}"
        yield Cell("rollback"), Cell(back, GOOD if safe else LATE)
    for need in one.needs:
        if need.need is not Need.NONE:
            tone = (
                BAD if need.need is Need.NEEDED else LATE if need.need is Need.TO_SAY_SO else PLAIN
            )
            yield Cell(f"upcaster from {need.version}"), Cell(f"{need.need}: {need.reason}", tone)
    if one.needs and all(need.need is Need.NONE for need in one.needs):
        yield Cell("upcasters"), Cell("none needed", GOOD)
    if _is_of_meaning(one):
        yield Cell("in agentlog's readers"), Cell(_MEANING)
    if one.groups:
        yield Cell("groups on its topics"), Cell(", ".join(one.groups))


def _is_of_meaning(one: TypeReview) -> bool:
    """Whether a logical type of stored versions is another one now."""
    found = (finding for version in one.versions for finding in version.report.findings)
    return any(finding.severity is Severity.SEMANTIC for finding in found)


def _beside(one: TypeReview, *, looked: bool) -> Iterator[tuple[Cell, ...]]:
    for version in one.versions:
        yield (Cell(version.label), Cell(""), _by_schemas(version), _stored(version, looked=looked))
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
    if observed is None:
        return Cell("no record")
    text = f"{_many(observed.records, 'record')}, {observed.decoded:,} decoded"
    if not observed.failed:
        return Cell(text, GOOD)
    today = f" ({observed.failed_today:,} fail today as well)" if observed.failed_today else ""
    return Cell(f"{text}, {observed.failed:,} failed{today}", BAD)


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
        none = "no record" if version.observed is None else "nothing happens"
        return Cell(none if looked else "not looked at", GOOD if version.observed else PLAIN)
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


def _reader(reader: Reader, one: TypeReview) -> tuple[Cell, ...]:
    changed = {plain_path(it.path) for it in one.differences}
    fields: list[str] = []
    touches = False
    for name in dict.fromkeys(filter(None, one.change[:2])):
        reads = reader.of(name)
        if reads is None:
            continue
        fields += ["(all of it)"] * reads.whole
        fields += [f"{path}*" if path in changed else path for path in reads.fields]
        fields += [f"then unknown: handed on to {place}" for place in reads.lost]
        touches = touches or bool(changed & set(reads.fields))
    if not reader.is_readable:
        fields = ["its source cannot be read: which fields is not known"]
    said = ", ".join(fields) or "its envelope alone"
    name = f"{reader.kind} {reader.owner}.{reader.name}"
    return Cell(name), Cell(reader.place), Cell(said, LATE if touches else PLAIN)


def _block(block: Block) -> tuple[Cell, ...]:
    waiver = block.waiver
    said = Cell("none", BAD)
    if waiver is not None:
        said = Cell(f"until {waiver.expires}, {waiver.owner}: {waiver.reason}", LATE)
    return Cell(block.rule), Cell(block.path), Cell(block.message), said


def _fold(folded: Folded) -> Iterator[tuple[Cell, ...]]:
    found = folded.found
    if found is None:
        passed = folded.passed_over
        yield Cell(folded.name), Cell(passed or folded.failed, GOOD if passed else BAD)
    elif found.equal:
        yield Cell(folded.name), Cell(f"the same over {found.records:,} records", GOOD)
    else:
        first = found.first
        where = f"after {first.record}, {first.type}" if first and first.record else "in the merge"
        yield Cell(folded.name), Cell(f"another state, first {where}", LATE)
        for one in (first.differences if first else ())[:10]:
            yield Cell("  then"), Cell(_difference(one))
        yield Cell("  in the end"), Cell(f"{_many(found.different, 'value')} different")
        for one in found.differences[:10]:
            yield Cell(""), Cell(_difference(one))


def _difference(one: Difference) -> str:
    return f"{one.path or '(all)'}: {text_of(one.before)} → {text_of(one.after)}"


def _many(count: int, what: str, many: str = "") -> str:
    return f"{count:,} {what if count == 1 else many or what + 's'}"
