"""A review: every type that changed, with what the schemas say and what the log says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

import msgspec

from consumers.reviewing.blocking import RULES, Block, block_of_removal, blocks_of
from consumers.reviewing.folding import Folded
from consumers.reviewing.gathering import Gathered
from consumers.reviewing.promises import Promise, promises
from consumers.reviewing.sides import ENVELOPE, Change, Sides
from consumers.reviewing.verdict import (
    START_UP,
    Deployment,
    UpcasterNeed,
    Version,
    deployment,
    upcaster_need,
)
from consumers.reviewing.versions import versions_of
from consumers.usage import Reader
from streams.errors import ConfigurationError
from streams.schemas import WriterSchema
from streams.schemas.catalogue import NOT_LOCKED
from streams.schemas.changes import Change as Difference
from streams.schemas.changes import changes
from streams.schemas.compatibility import (
    Mode,
    ModeReport,
    check_mode,
    compare,
    parse_schema,
)
from streams.schemas.folders import SchemaFolder, reserved_names
from streams.schemas.lint import Problem, lint
from streams.schemas.subjects import Subject, Waiver
from streams.schemas.upcasting import load_upcasters, require_way_up


class TypeReview(msgspec.Struct, frozen=True, kw_only=True):
    """One type that is not what it was."""

    change: Change
    subject: Subject | None
    """None for the envelope, and for a type that is gone."""
    differences: tuple[Difference, ...]
    mode: ModeReport | None
    """What the type's own mode asks; None for a type that is gone."""
    mode_before: Mode | None
    """The mode that the type had at the base, if it had one."""
    promises: tuple[Promise, ...]
    """What `subjects.toml` says of it otherwise than at the base."""
    modes: Mapping[Mode, bool]
    """Whether each mode would be kept."""
    versions: tuple[Version, ...]
    """The released ones, oldest first, and those that only the log knows."""
    deployment: Deployment | None
    """None: it is new, or gone."""
    needs: tuple[UpcasterNeed, ...]
    lint: tuple[Problem, ...]
    readers: tuple[Reader, ...]
    """Code that touches its payload."""
    groups: tuple[str, ...]
    """Groups whose journals speak of the topics that its records are on."""
    blocks: tuple[Block, ...]

    @property
    def state(self) -> str:
        """`new`, `gone`, `renamed`, `changed` or `promises`: those alone."""
        if self.change.before is None:
            return "new"
        if self.change.after is None:
            return "gone"
        if self.change.is_promises_alone:
            return "promises"
        return "changed" if self.change.was == self.change.name else "renamed"

    @property
    def against(self) -> tuple[Block, ...]:
        """What stands against merging, and is not waived."""
        return tuple(block for block in self.blocks if block.waiver is None)

    @property
    def records(self) -> int:
        """Stored records that were looked at."""
        return sum(version.stored for version in self.versions)


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    folder: str
    base: str
    head: str
    types: tuple[TypeReview, ...]
    gathered: Gathered | None
    """None: the schemas alone were reviewed."""
    without: str = ""
    """Why there is no evidence."""
    folds: tuple[Folded, ...] = ()
    is_first: bool = False
    """The base has no schemas in this folder yet."""

    @property
    def fine(self) -> bool:
        """Whether nothing stands against merging."""
        return not self.against

    @property
    def against(self) -> int:
        """How much does."""
        return sum(len(one.against) for one in self.types) + sum(one.breaks for one in self.folds)


def review_type(
    sides: Sides,
    change: Change,
    *,
    gathered: Gathered | None,
    codec_schemas: Mapping[int, WriterSchema],
    readers: Sequence[Reader],
    groups: Mapping[str, Iterable[str]],
    today: date,
) -> TypeReview:
    """One change. `codec_schemas` are the writers' schemas of what was seen, by id; `groups` are
    the topics of each group. Raises `InvalidSchema`, `ConfigurationError`.
    """
    alone = change.is_promises_alone
    versions = () if alone else versions_of(sides, change, gathered, codec_schemas)
    is_type = change.after is not None and change.name != ENVELOPE
    before, subject = sides.subjects(change)
    problems = _lint(change, subject, today) if is_type else ()
    mode, modes, deployed = _modes(sides, change, subject)
    names = {change.name, change.was}
    reading = tuple(one for one in readers if any(one.of(name) for name in names) and not alone)
    blocks: tuple[Block, ...]
    if change.after is None:
        blocks = block_of_removal(versions, reading, _waivers_of_gone(sides, change), today)
    else:
        waivers = subject.waivers if subject else ()
        asked = mode or ModeReport(Mode.NONE, ())
        blocks = blocks_of(asked, versions, problems, waivers, today)
    topics = {topic for one in versions if one.observed for topic in one.observed.topics}
    is_whole = gathered is not None and not gathered.is_sample
    return TypeReview(
        change=change,
        subject=subject,
        differences=_differences(change),
        mode=mode,
        mode_before=before.mode if before else None,
        promises=promises(before, subject, today, is_new=change.before is None),
        modes=modes,
        versions=versions,
        deployment=None if alone else deployed,
        needs=tuple(
            upcaster_need(one, looked=gathered is not None, whole=is_whole)
            for one in (versions if is_type else ())
        ),
        lint=problems,
        readers=reading,
        groups=tuple(sorted(name for name, read in groups.items() if topics & set(read))),
        blocks=(*blocks, *_start_up(sides, change)),
    )


def _differences(change: Change) -> tuple[Difference, ...]:
    if change.before is None or change.after is None:
        return ()
    return changes(change.before, change.after)


def _modes(
    sides: Sides, change: Change, subject: Subject | None
) -> tuple[ModeReport | None, dict[Mode, bool], Deployment | None]:
    """Against the versions before the candidate, which may be locked already."""
    if change.after is None:
        return None, {}, None
    candidate = parse_schema(change.after)
    released = [
        parse_schema(rung.writer.schema["fields"][-1]["type"], released=True)
        for rung in sides.versions(change)
        if rung.writer.schema["fields"][-1]["type"] != change.after
    ]
    reports = {mode: check_mode(mode, released, candidate) for mode in Mode}
    own = reports[Mode(subject.mode)] if subject else None
    deployed = None
    if change.name == ENVELOPE and change.before is not None:
        own = check_mode(Mode.FULL, [change.before], change.after)
    if change.before is not None:
        today = parse_schema(change.before, released=True)
        deployed = deployment(compare(today, candidate), compare(candidate, today))
    return own, {mode: report.compatible for mode, report in reports.items()}, deployed


def _waivers_of_gone(sides: Sides, change: Change) -> tuple[Waiver, ...]:
    head = SchemaFolder(sides.head)
    subject = head.subjects.removed.get(change.name) if change.name != ENVELOPE else None
    return subject.waivers if subject else ()


def _lint(change: Change, subject: Subject | None, today: date) -> tuple[Problem, ...]:
    subjects = {change.name: subject} if subject else {}
    report = lint(
        {change.name: change.after},
        subjects,
        reserved=reserved_names(),
        today=today,
        other_rules=RULES,
    )
    return report.problems


def _start_up(sides: Sides, change: Change) -> tuple[Block, ...]:
    """Whether workers start with these schemas: each released version must have a way up."""
    released = sides.versions(change)
    if not released or change.after is None:
        return ()
    try:
        require_way_up(sides.candidate.way_up(released[0].writer), load_upcasters(sides.head))
    except ConfigurationError as error:
        # The candidate may have no version yet.
        why = str(error).replace(f"{change.name} v{NOT_LOCKED}", f"the candidate's {change.name}")
        return (Block(START_UP, "$", f"workers with these schemas will not start: {why}"),)
    return ()
