"""What came out of a rehearsal: counts, and where handlers did something else than they had."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from consumers.differences import NOTHING, Difference
from streams.cuts import Cut

FINDINGS_MAX: Final = 20
"""Findings that are told one by one; all are counted."""


class FindingKind(StrEnum):
    """A way in which a handler did not do what it had done."""

    DIFFERS = "differs"
    """It publishes something else."""
    EXTRA = "extra"
    """It publishes what is not on the log."""
    MISSING = "missing"
    """It does not publish what is on the log."""
    FAILED = "failed"
    """It fails on what it had handled."""
    REFUSED = "refused"
    """It would reach beyond the log, which a rehearsal does not let it."""
    NEVER_RECORDED = "never_recorded"
    """It asks for an effect whose result is not on the log."""
    NOT_HANDLED = "not_handled"
    """No handler of the app would get the record any more."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One of them, at one record."""

    kind: FindingKind
    record: str
    """The record that is handled, as in `agentlog.tasks[3]@17`."""
    handler: str
    """Empty if none is known."""
    detail: str
    """What is wrong, in words."""
    output: str = ""
    """Id of the envelope that it is about, if it is about one."""
    type: str = ""
    """Its payload type."""
    place: str = ""
    """Where it is on the log, if it is."""
    differences: Sequence[Difference] = ()
    """`before` is on the log, `after` is what the handler does now."""
    on_log: Mapping[str, Any] | None = None
    now: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        """In one sentence, both sides of the first difference in it."""
        who = f"{self.handler} on {self.record}" if self.handler else self.record
        about = f" {self.type} {self.output}" if self.output else ""
        said = f"{who}{about} {self.detail}"
        if not self.differences:
            return said
        one = self.differences[0]
        return f"{said}: {one.path} is {_shown(one.before)} on the log, {_shown(one.after)} now"


def _shown(value: Any) -> str:
    return "not there" if value is NOTHING else repr(value)


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """A group's records, handled once more."""

    app: str
    group: str
    """Full name."""
    cut: Cut
    records: int
    """Records that it had handled, below the cut."""
    passed_over: int
    """Other visible records there: dead letters, expired, skipped, or not finished yet."""
    runs: int
    """Handlers run on them, each to its end; attempts that fail count for nothing."""
    outputs: int
    """Envelopes published now and found on the log as they are."""
    effects_served: int
    """Results of effects that came from the log."""
    sent_at_once: int
    """Sent past the outcome (`send_now`, streams): caught, not compared."""
    not_compared: int
    """Envelopes that go where nobody can look any more, or copies of bytes."""
    counts: Mapping[str, int]
    """Findings, by kind."""
    findings: Sequence[Finding]
    """The first of them, in the order of partitions and positions."""
    kernel_guard: bool
    """Whether the kernel refused connections too, or the interpreter's audit hook alone."""
    seconds: float

    @property
    def clean(self) -> bool:
        """True if every handler did again what it had done."""
        return not self.findings
