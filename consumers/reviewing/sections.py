"""A review in words, as sections that every format shows the same way. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from consumers.differences import Difference
from consumers.reviewing.beside import beside_section
from consumers.reviewing.blocking import Block, plain_path
from consumers.reviewing.cells import BAD, GOOD, LATE, PLAIN, Cell, Section, many_of, table
from consumers.reviewing.evidence import Seen
from consumers.reviewing.folding import Folded
from consumers.reviewing.gathering import Gathered
from consumers.reviewing.promises import Promise
from consumers.reviewing.review import Review, TypeReview
from consumers.reviewing.sites import text_of
from consumers.reviewing.verdict import Need, Order, UpcasterNeed
from consumers.usage import Reader
from streams.schemas.compatibility import Severity
from streams.schemas.subjects import Waiver

_READERS: Final = ("code", "where", "fields; * is changed")
_PROMISED: Final = ("promise", "at the base", "now")
_PROMISES: Final = {"personal_data": "personal data"}
_BLOCKS: Final = ("rule", "where", "why", "waiver")
_NEEDS: Final = {Need.NEEDED: BAD, Need.TO_SAY_SO: LATE}
_MEANING: Final = (
    "a logical type is taken from the writer's schema, so what is stored is read as it was meant; "
    "readers that go by their own schema, as the specification says and Java does, get what is "
    "shown here"
)


def verdict_of(review: Review) -> Cell:
    """The whole review in a sentence."""
    if not review.types:
        return Cell("nothing changed", GOOD)
    if review.against:
        return Cell(f"not to be merged: {many_of(review.against, 'thing')} against it", BAD)
    waived = sum(len(one.blocks) for one in review.types)
    said = f", with {many_of(waived, 'thing')} waived" if waived else ""
    looser = [one for one in review.types if any(it.is_looser for it in one.promises)]
    if looser:
        return Cell(f"fine{said}; less is asked of {many_of(len(looser), 'type')}", LATE)
    return Cell(f"fine{said}", GOOD)


def notice_of(review: Review) -> str:
    """What one must know of the whole review, in a sentence; mostly nothing."""
    if not review.is_first:
        return ""
    return (
        f"{review.base} has no schemas in {review.folder}: every type is new, and nothing is "
        "compared; if the folder was moved, move it in a change of its own"
    )


def looked_at(review: Review) -> str:
    """What the evidence is of, in a sentence."""
    gathered = review.gathered
    if gathered is None:
        return f"by the schemas alone: {review.without}"
    return f"{_extent(gathered)}; {_records(gathered)}"


def type_sections(one: TypeReview, *, looked: bool) -> Iterator[Section]:
    """Everything on one type, the verdict first."""
    yield Section("", (), list(_summary(one, looked=looked)))
    if one.promises:
        yield table("What it promises", _PROMISED, map(_promise, one.promises))
    if one.differences:
        yield table("What changed", ("field", "change"), _changes(one))
    if one.versions:
        yield beside_section(one, looked=looked)
    if one.readers:
        yield table("Who reads it", _READERS, (_reader(it, one) for it in one.readers))
    if one.blocks:
        yield table("Against merging", _BLOCKS, map(_block, one.blocks))


def _changes(one: TypeReview) -> Iterator[tuple[Cell, ...]]:
    for it in one.differences:
        yield Cell(it.path or "(the type)"), Cell(it.message)


def last_sections(review: Review) -> Iterator[Section]:
    """What is of no one type: records that nobody knows, and the folds."""
    unknown = review.gathered.evidence.unknown if review.gathered else {}
    if unknown:
        in_order = sorted(unknown.items(), key=lambda item: item[1].first)
        rows = (_unknown(why, one) for why, one in in_order)
        yield table("Records that nobody can read", ("records", "first", "why"), rows)
    if review.folds:
        rows = (row for one in review.folds for row in _fold(one))
        yield table("Folds", ("projection", "under both readers"), rows)


def _extent(gathered: Gathered) -> str:
    if not gathered.is_sample:
        return f"the whole history, {gathered.positions:,} positions"
    return (
        f"a sample of {gathered.looked_at:,} of {gathered.positions:,} positions, in "
        f"{many_of(gathered.spans, 'stretch', 'stretches')} spread evenly over "
        f"{many_of(gathered.partitions, 'partition')}"
    )


def _records(gathered: Gathered) -> str:
    evidence = gathered.evidence
    passed, unknown = (
        sum(evidence.passed.values()),
        sum(one.count for one in evidence.unknown.values()),
    )
    text = f"{evidence.records:,} records, {passed:,} of types that are read as before"
    return f"{text}, {unknown:,} whose schema nobody knows" if unknown else text


def _summary(one: TypeReview, *, looked: bool) -> Iterator[tuple[Cell, ...]]:
    if one.change.after is None:
        yield Cell("type"), Cell(f"gone; {_left_of(one, looked=looked)}", LATE)
    if one.mode is not None:
        kept = one.mode.compatible
        said = f"{one.mode.mode}: {'kept' if kept else 'broken'}"
        yield Cell("mode"), Cell(said, GOOD if kept else BAD)
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
    yield from _needs(one.needs)
    if _is_of_meaning(one):
        yield Cell("in agentlog's readers"), Cell(_MEANING)
    if one.groups:
        yield Cell("groups on its topics"), Cell(", ".join(one.groups))


def _left_of(one: TypeReview, *, looked: bool) -> str:
    """What a type leaves that is gone."""
    if not looked:
        return "whether records of it are stored was not looked at"
    if not one.records:
        return "no record of it was met"
    return f"it leaves {many_of(one.records, 'record')}, to be read as written"


def _unknown(why: str, seen: Seen) -> tuple[Cell, ...]:
    return Cell(f"{seen.count:,}", LATE), Cell(str(seen.first)), Cell(why)


def _promise(one: Promise) -> tuple[Cell, ...]:
    tone = LATE if one.is_looser else PLAIN
    before, after = (_said(said) for said in (one.before, one.after))
    if one.what == "mode" and one.is_looser:
        after += ": asks less"
    elif isinstance(one.after, Waiver) and not one.is_looser:
        after += " (expired: it lets nothing)"
    return Cell(_PROMISES.get(one.what, one.what)), Cell(before), Cell(after, tone)


def _said(said: str | Waiver | None) -> str:
    if not isinstance(said, Waiver):
        return said or "–"
    where = f" at {', '.join(said.paths)}" if said.paths else ""
    return f"{said.rule}{where}, until {said.expires}, {said.owner}: {said.reason}"


def _needs(needs: Sequence[UpcasterNeed]) -> Iterator[tuple[Cell, ...]]:
    for need in needs:
        if need.need is not Need.NONE:
            said = Cell(f"{need.need}: {need.reason}", _NEEDS.get(need.need, PLAIN))
            yield Cell(f"upcaster from {need.version}"), said
    if needs and all(need.need is Need.NONE for need in needs):
        yield Cell("upcasters"), Cell("none needed", GOOD)


def _is_of_meaning(one: TypeReview) -> bool:
    """Whether a logical type of stored versions is another one now."""
    found = (finding for version in one.versions for finding in version.report.findings)
    return any(finding.severity is Severity.SEMANTIC for finding in found)


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
        tone = GOOD if passed else BAD if folded.breaks else LATE
        yield Cell(folded.name), Cell(passed or folded.failed, tone)
    elif found.equal:
        yield Cell(folded.name), Cell(f"the same over {found.records:,} records", GOOD)
    else:
        first = found.first
        where = f"after {first.record}, {first.type}" if first and first.record else "in the merge"
        yield Cell(folded.name), Cell(f"another state, first {where}", LATE)
        for one in (first.differences if first else ())[:10]:
            yield Cell("  then"), Cell(_difference(one))
        yield Cell("  in the end"), Cell(f"{many_of(found.different, 'value')} different")
        for one in found.differences[:10]:
            yield Cell(""), Cell(_difference(one))


def _difference(one: Difference) -> str:
    return f"{one.path or '(all)'}: {text_of(one.before)} → {text_of(one.after)}"
