"""The verdict on one changed type: who goes first, the way back, what stored versions need. Pure.

What the schemas promise and what the log holds are kept apart: a mode is broken by the schemas
alone, a record fails or changes on the log alone. Both block, and each is waived by its own name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from consumers.reviewing.evidence import Observed, Seen
from consumers.reviewing.sites import Happening
from streams.schemas.compatibility import Finding, Report, Severity

START_UP: Final = "start_up"
"""Rule of what no waiver helps against: workers refuse to start with these schemas."""
_WRONG: Final = frozenset({Severity.ERROR, Severity.SEMANTIC})


class Order(StrEnum):
    """Who is deployed first."""

    EITHER = "either"
    READERS_FIRST = "readers first"
    WRITERS_FIRST = "writers first"
    NEITHER = "neither"


class Deployment(msgspec.Struct, frozen=True):
    """How a change gets out, and back."""

    order: Order
    reason: str
    rollback_safe: bool
    rollback: str


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """One released version under the candidate, by its schema and by what is stored."""

    label: str
    """`v1`, …; `id 12` for one that no lock here knows."""
    schema_id: int
    report: Report
    """What the candidate's reader makes of it, without upcasters."""
    has_step: bool
    """Whether an upcaster of the candidate's raises it."""
    observed: Observed | None
    """None: nothing was looked for, or nothing of it is read otherwise than today."""
    passed: int = 0
    """Stored records that are read as before, and so were counted alone."""

    @property
    def stored(self) -> int:
        """Records of it."""
        return self.passed + (self.observed.records if self.observed else 0)

    def count(self, happening: Happening) -> int:
        """Records to which this happened, at the place where it happened to most."""
        if self.observed is None:
            return 0
        if happening is Happening.FAILED:
            return self.observed.failed - self.observed.failed_today
        return max((seen.count for what, _, seen in self.seen() if what is happening), default=0)

    def seen(self) -> Iterable[tuple[Happening, str, Seen]]:
        """What happened, where and to how many."""
        sites = self.observed.sites if self.observed else {}
        for (happening, path), seen in sorted(sites.items()):
            yield happening, path, seen


class Need(StrEnum):
    """Whether a version needs an upcaster."""

    NONE = "none"
    THERE = "there is one"
    NEEDED = "needed"
    TO_SAY_SO = "to say so"
    """Every stored record can be read; only the schema says that one might not."""
    RETIRE = "none, if the version is retired"


class UpcasterNeed(msgspec.Struct, frozen=True):
    """What one version needs, and why."""

    version: str
    need: Need
    reason: str


def deployment(backward: Report, forward: Report) -> Deployment:
    """`backward`: the candidate reads what is written today; `forward`: today's readers read what
    the candidate writes.
    """
    behind, ahead = _wrong(backward), _wrong(forward)
    if not behind and not ahead:
        return Deployment(
            Order.EITHER,
            "each reads what the other writes",
            rollback_safe=True,
            rollback="today's readers read what the candidate has written",
        )
    back = "today's readers read what the candidate has written"
    if ahead:
        back = f"only until the candidate has written: {_said(ahead)}"
    if not behind:
        reason = f"today's readers must be gone before the candidate writes: {_said(ahead)}"
        return Deployment(Order.READERS_FIRST, reason, rollback_safe=False, rollback=back)
    if not ahead:
        reason = f"the candidate must not read before today's writers are gone: {_said(behind)}"
        return Deployment(Order.WRITERS_FIRST, reason, rollback_safe=True, rollback=back)
    reason = (
        f"the candidate misreads today's records ({_said(behind)}), and today's readers its own "
        f"({_said(ahead)}): make it two changes, or stop both in between"
    )
    return Deployment(Order.NEITHER, reason, rollback_safe=False, rollback=back)


def upcaster_need(version: Version, *, looked: bool, whole: bool) -> UpcasterNeed:
    """`looked`: whether there is evidence at all; `whole`: of the whole history."""
    label, wrong = version.label, _wrong(version.report)
    if version.has_step:
        return UpcasterNeed(label, Need.THERE, "the candidate's upcasters raise it")
    if version.count(Happening.FAILED):
        return UpcasterNeed(
            label,
            Need.NEEDED,
            f"{version.count(Happening.FAILED):,} of {version.stored:,} stored records cannot be "
            "read",
        )
    if changed := version.count(Happening.VALUE_CHANGED):
        return UpcasterNeed(
            label,
            Need.NEEDED,
            f"{changed:,} of {version.stored:,} stored records are read as another value; an "
            "upcaster could keep it",
        )
    if version.passed:
        return UpcasterNeed(label, Need.NONE, "its stored records are read as before")
    if version.report.compatible and (looked or not wrong):
        return UpcasterNeed(label, Need.NONE, "nothing that is stored needs one")
    if not looked:
        return UpcasterNeed(label, Need.NEEDED, _said(wrong))
    if version.stored:
        part = "every" if whole else "every one looked at of the"
        return UpcasterNeed(
            label,
            Need.TO_SAY_SO,
            f"{part} stored record ({version.stored:,}) can be read, though the schema alone says "
            f"no ({_said(wrong)}): workers start only with an upcaster that passes its fields on",
        )
    if not whole:
        return UpcasterNeed(label, Need.NEEDED, f"{_said(wrong)}; none was in the sample")
    reason = f"no stored record has it, and it could not be read ({_said(wrong)})"
    return UpcasterNeed(label, Need.RETIRE, reason)


def _wrong(report: Report) -> Sequence[Finding]:
    return [one for one in report.findings if one.severity in _WRONG]


def _said(findings: Sequence[Finding]) -> str:
    if not findings:
        return ""
    first, more = findings[0], len(findings) - 1
    # What stands in brackets, the branches that were tried, is told where the finding is.
    message = first.message.partition(" (")[0]
    return f"{first.path}: {message}{f', and {more} more' if more else ''}"
