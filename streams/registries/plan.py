"""The plan of a sync: what one side has and the other has not, subject by subject. Pure.

A version is only ever added, at the end of what the other side has. So, where ours and theirs are
the versions of one subject, oldest first, and both sides' newest common version is where they part:

| after it, we have | after it, they have | so |
| --- | --- | --- |
| nothing | nothing | in sync |
| more | nothing | push what we have more |
| nothing | more | pull what they have more |
| more | more | they differ: somebody has to decide, nothing is done |

Subjects that have versions but none in common differ, too. Of a type that goes to several topics,
each subject is compared by itself; a pull that one of them asks for must not contradict another's.
What one side has from before the other side's history begins is left alone, and so is a version of
ours that somebody has registered again after newer ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streams.schemas.compatibility.modes import Mode
from streams.schemas.references import identity
from streams.schemas.writer_schema import Schema


class Ours(msgspec.Struct, frozen=True):
    """A locked version of a type."""

    version: int
    schema: Schema


class Theirs(msgspec.Struct, frozen=True):
    """A version of a subject in the registry."""

    version: int
    id: int
    schema: Schema
    payload: Schema | None = None
    """What of it is the payload, if the rest is the envelope as this version of Agentlog has it."""


class Subject(msgspec.Struct, frozen=True):
    """Both sides of one subject, oldest version first.

    `taken` says which of their versions the registry takes for one of ours that it does not have
    word for word: it would never register that one. `mode` is what `subjects.toml` says, if it says
    anything, and `level` the registry's own. `pulls_into` says whether the folder at hand is where
    the type's files are, or would be.
    """

    name: str
    type: str
    ours: Sequence[Ours] = ()
    theirs: Sequence[Theirs] = ()
    taken: Mapping[int, int] = {}
    mode: Mode | None = None
    level: Mode | None = None
    pulls_into: bool = True


class Push(msgspec.Struct, frozen=True):
    """Register our version as the subject's next one."""

    subject: str
    type: str
    version: int
    schema: Schema

    def __str__(self) -> str:
        return f"push {self.type} v{self.version} → {self.subject}"


class Pull(msgspec.Struct, frozen=True):
    """Take the subject's version into the folder, as the type's next one."""

    subject: str
    type: str
    version: int
    payload: Schema

    def __str__(self) -> str:
        return f"pull {self.subject} version {self.version} → {self.type}"


class SetLevel(msgspec.Struct, frozen=True):
    """Give a subject that has no level of its own the type's mode."""

    subject: str
    mode: Mode

    def __str__(self) -> str:
        return f"level of {self.subject} → {self.mode}"


class SyncPlan(msgspec.Struct, frozen=True):
    """What is to be done, and what cannot be: `differ` by subject, in words."""

    pushes: tuple[Push, ...] = ()
    pulls: tuple[Pull, ...] = ()
    levels: tuple[SetLevel, ...] = ()
    differ: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()
    subjects: int = 0

    @property
    def actions(self) -> tuple[Push | Pull | SetLevel, ...]:
        """In the order in which they are carried out."""
        return (*self.pulls, *self.pushes, *self.levels)

    @property
    def in_sync(self) -> bool:
        """Nothing is to be done, and nothing stands in the way."""
        return not self.actions and not self.differ

    def to_dict(self) -> dict[str, Any]:
        """For `--json`; schemas are left out."""
        return {
            "in_sync": self.in_sync,
            "subjects": self.subjects,
            "pull": [_named(one) for one in self.pulls],
            "push": [_named(one) for one in self.pushes],
            "levels": [{"subject": one.subject, "level": one.mode} for one in self.levels],
            "differ": [{"subject": name, "why": why} for name, why in self.differ.items()],
            "notes": list(self.notes),
        }


def plan(subjects: Sequence[Subject]) -> SyncPlan:
    """What a sync of these subjects would do."""
    pushes: list[Push] = []
    pulls: dict[str, list[Pull]] = {}
    levels, notes = [], []
    differ: dict[str, str] = {}
    for subject in sorted(subjects, key=lambda one: one.name):
        more, extra, problem = _parting(subject)
        if not problem and extra and not subject.pulls_into:
            problem = (
                f"it has versions of {subject.type} ({_listed(extra)}) whose file is not in this "
                "folder: sync the folder that it belongs to, or upgrade the package"
            )
        if not problem and any(one.payload is None for one in extra):
            problem = (
                f"its newer versions are not {subject.type} in the envelope that this version of "
                "Agentlog knows: upgrade the package"
            )
        if problem:
            differ[subject.name] = problem
            continue
        notes += _notes(subject)
        pushes += (Push(subject.name, subject.type, one.version, one.schema) for one in more)
        if extra:
            wanted = [Pull(subject.name, subject.type, one.version, one.payload) for one in extra]
            others = pulls.setdefault(subject.type, wanted)
            if not _agree(others, wanted):
                differ[subject.name] = (
                    f"its newer versions of {subject.type} are not those of {others[0].subject}"
                )
                continue
            pulls[subject.type] = max(others, wanted, key=len)
        if subject.mode is not None and subject.level is None and (subject.theirs or more):
            levels.append(SetLevel(subject.name, subject.mode))
    undecided = {one.type for one in subjects if one.name in differ}
    return SyncPlan(
        tuple(one for one in pushes if one.type not in undecided),
        tuple(one for of in pulls.values() for one in of if one.type not in undecided),
        tuple(one for one in levels if one.subject not in differ),
        differ,
        tuple(notes),
        len(subjects),
    )


def _parting(subject: Subject) -> tuple[Sequence[Ours], Sequence[Theirs], str]:
    """What each side has after the newest version that both have; or why that cannot be said."""
    ours, theirs = subject.ours, subject.theirs
    if not ours or not theirs:
        return ours, theirs, ""
    common = _newest_common(subject)
    if common is None:
        return (
            (),
            (),
            (
                f"none of its versions ({_listed(theirs)}) is one of ours of {subject.type} "
                f"({_listed(ours)})"
            ),
        )
    # Who registers an old version of ours again, late, does not take us back to it.
    known = {identity(one.schema) for one in ours}
    more = ours[common[0] + 1 :]
    extra = [one for one in theirs[common[1] + 1 :] if identity(one.schema) not in known]
    if more and extra:
        return (
            (),
            (),
            (
                f"both sides went on: ours with {_listed(more)} of {subject.type}, the registry "
                f"with {_listed(extra)}; decide which is right, and make the other one follow it"
            ),
        )
    return more, extra, ""


def _newest_common(subject: Subject) -> tuple[int, int] | None:
    """Positions of the newest of ours that they have, and of the newest of theirs that it is."""
    by_version = {one.version: there for there, one in enumerate(subject.theirs)}
    by_content = {identity(one.schema): there for there, one in enumerate(subject.theirs)}
    for at in range(len(subject.ours) - 1, -1, -1):
        one = subject.ours[at]
        there = by_content.get(identity(one.schema))
        if there is None:
            there = by_version.get(subject.taken.get(one.version, 0))
        if there is not None:
            return at, there
    return None


def _agree(one: Sequence[Pull], other: Sequence[Pull]) -> bool:
    pairs = zip(one, other, strict=False)
    return all(identity(a.payload) == identity(b.payload) for a, b in pairs)


def _notes(subject: Subject) -> list[str]:
    ids = {one.version: one.id for one in subject.theirs}
    notes = [
        f"{subject.name}: version {theirs} (id {ids[theirs]}) stands for {subject.type} v{ours}, "
        "which this registry does not tell from it"
        for ours, theirs in subject.taken.items()
        if theirs in ids
    ]
    if None not in {subject.mode, subject.level} and subject.mode is not subject.level:
        notes.append(
            f"{subject.name}: its level is {subject.level}, subjects.toml says {subject.mode}; it "
            "is left as it is"
        )
    return notes


def _listed(versions: Sequence[Ours] | Sequence[Theirs]) -> str:
    return ", ".join(f"v{one.version}" for one in versions)


def _named(one: Push | Pull) -> dict[str, Any]:
    return {"subject": one.subject, "type": one.type, "version": one.version}
