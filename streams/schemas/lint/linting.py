"""A folder's types under all rules, and what their waivers make of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from streams.errors import ConfigurationError
from streams.schemas.lint import docs, evolution, meaning, names, privacy
from streams.schemas.lint.definitions import defined_elsewhere
from streams.schemas.lint.rules import Breach, Linted, Rule
from streams.schemas.subjects import Subject, Waiver
from streams.schemas.walking import without_branches

RULES: Final[Mapping[str, Rule]] = {
    rule.id: rule for family in (names, docs, evolution, meaning, privacy) for rule in family.RULES
}
"""All rules, by id."""
UNUSED_WAIVER: Final = "unused-waiver"
EXPIRED_WAIVER: Final = "expired-waiver"
_OF_WAIVERS: Final = {
    UNUSED_WAIVER: "A waiver that nothing needs hides the next breach.",
    EXPIRED_WAIVER: "A waiver holds for a while, so that somebody looks again.",
}


class Problem(msgspec.Struct, frozen=True):
    """One rule that one type breaks."""

    type: str
    path: str
    """Empty: the type itself."""
    rule: str
    message: str
    waiver: Waiver | None = None
    """What lets it, if anything does today."""

    @property
    def reason(self) -> str:
        """Why the rule is one."""
        return RULES[self.rule].reason if self.rule in RULES else _OF_WAIVERS[self.rule]


class LintReport(msgspec.Struct, frozen=True):
    """What a folder's types break."""

    types: int
    problems: tuple[Problem, ...]
    """What nothing lets them break."""
    waived: tuple[Problem, ...]

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left to do."""
        return not self.problems


def lint(
    types: Mapping[str, Any],
    subjects: Mapping[str, Subject],
    *,
    reserved: Iterable[str],
    today: date,
    other_rules: Collection[str] = (),
) -> LintReport:
    """The report on these types: payload schema by full name.

    A type without a subject has no waivers. `reserved` are the envelope's fields; `other_rules`
    are ids that waivers may name though they are no rules of lint: kinds of compatibility findings.
    Raises `ConfigurationError` for a waiver of a rule that there is not.
    """
    elsewhere = defined_elsewhere(types)
    problems: list[Problem] = []
    waived: list[Problem] = []
    for name, schema in types.items():
        subject = subjects.get(name)
        linted = Linted.of(
            name,
            schema,
            reserved=reserved,
            personal_data=subject.personal_data if subject else (),
            elsewhere=elsewhere[name],
        )
        waivers = subject.waivers if subject else ()
        _require_known(name, waivers, other_rules)
        for problem in _judged(linted, waivers, today):
            (waived if problem.waiver else problems).append(problem)
    return LintReport(len(types), tuple(problems), tuple(waived))


def _judged(linted: Linted, waivers: tuple[Waiver, ...], today: date) -> Iterator[Problem]:
    used: set[Waiver] = set()
    for rule in RULES.values():
        for breach in rule.check(linted):
            path = without_branches(breach.path)
            covering = [one for one in waivers if one.covers(rule.id, path)]
            used.update(covering)
            holding = next((one for one in covering if one.holds(today)), None)
            yield Problem(
                linted.name, breach.path, rule.id, _message(breach, covering, holding), holding
            )
    for waiver in waivers:
        if waiver.rule in RULES and waiver not in used:
            where = f" at {', '.join(waiver.paths)}" if waiver.paths else ""
            said = f"{waiver.rule} is waived{where}, and nothing breaks it; take the waiver out"
            yield Problem(linted.name, "", UNUSED_WAIVER, said)
        elif waiver.rule not in RULES and not waiver.holds(today):
            said = f"{waiver.rule} was waived until {waiver.expires}; {waiver.owner} decides"
            yield Problem(linted.name, "", EXPIRED_WAIVER, said)


def _message(breach: Breach, covering: list[Waiver], holding: Waiver | None) -> str:
    if covering and holding is None:
        last = max(covering, key=lambda one: one.expires)
        return f"{breach.problem} (waived until {last.expires}; {last.owner} decides)"
    return breach.problem


def _require_known(name: str, waivers: Iterable[Waiver], others: Collection[str]) -> None:
    known = {*RULES, *others}
    for waiver in waivers:
        if waiver.rule not in known:
            close = get_close_matches(waiver.rule, known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ConfigurationError(
                f"subjects.toml waives {waiver.rule!r} for {name}, and there is no such rule{hint}"
            )
