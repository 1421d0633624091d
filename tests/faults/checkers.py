"""What must never be on the log, each with a name (after Jepsen's). All of them pure.

A `History` is everything that a fault left on the log, read committed, for the whole load:

lost           acknowledged, and neither at the end of the pipeline nor a dead letter nor under way
duplicated     one number of a key more often than once at a hop (a dead letter counts as the end)
reordered      a number of a key behind a higher one, at any hop
torn           handled, and its outputs are not there; or outputs there, and it was not handled;
               or dead-lettered, and no dead letter
aborted_read   something on the log, or done, that comes from what never committed
stuck          keys with a record that had no outcome when the recovery's time was over
non_monotonic  a committed position that went back, or a commit that does not follow the one before

Of streams, where the ground has aggregates:

forked         a version twice or missing, or an epoch that is over: two writers
state_differs  a state that is not, when it is rebuilt, what was decided on
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from streams.record import Partition
from tests.faults.load import key_of, number_of

ASSIGNED: Final = 0
"""The hop of the records that the load sent."""
FINISHED: Final = 1
"""The hop of what the first handler published."""
REPORTED: Final = 2
"""The hop of what the second handler published: the end of the pipeline."""

HANDLED: Final = "handled"
DEAD_LETTERED: Final = "dead_lettered"
FINDINGS_MAX: Final = 5
"""Faults of one kind that are named; all are counted."""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """One visible record of the pipeline."""

    hop: int
    task_id: str
    source: Partition
    position: int
    id: str
    caused_by: str = ""
    """Id of the envelope whose handling published it."""

    def __str__(self) -> str:
        return f"{self.task_id} at {self.source}@{self.position}"


class Commit(msgspec.Struct, frozen=True):
    """One journal record: which positions of a partition finished, and the prefix's move."""

    source: Partition
    at_ms: int
    """When the journal record was appended."""
    writer: str
    """The process run that committed."""
    prefix_from: int
    prefix_to: int
    finished: tuple[tuple[str, range], ...]
    """(outcome, positions)."""

    @property
    def count(self) -> int:
        """Records that it finished."""
        return sum(len(run) for _, run in self.finished)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """A load, and what the log says became of it."""

    sent: frozenset[str]
    """Task ids that were acknowledged."""
    seen: list[Seen]
    """Partition by partition, in log order within each."""
    commits: list[Commit]
    """In log order for each source partition."""
    dead_letters: list[str] = []
    """Task ids on the dead-letter topic, in log order."""
    never_committed: frozenset[str] = frozenset()
    """Task ids that were written in transactions which must not have committed."""
    steps_back: list[str] = []
    """Committed positions that were seen to go back while it ran."""
    forks: list[str] = []
    """Streams that are no unbroken history of one writer."""
    differing_states: list[str] = []
    """States that were not what was decided on when they were rebuilt."""

    def outcomes(self) -> dict[Partition, dict[int, str]]:
        """How each position of each source partition ended."""
        found: dict[Partition, dict[int, str]] = defaultdict(dict)
        for commit in self.commits:
            for outcome, run in commit.finished:
                found[commit.source].update(dict.fromkeys(run, outcome))
        return found


class Verdict(msgspec.Struct, frozen=True):
    """How often a checker found what must not be, and the first cases in words."""

    count: int
    findings: tuple[str, ...] = ()

    @classmethod
    def of(cls, findings: Iterable[str]) -> Verdict:
        told = list(findings)
        return cls(len(told), tuple(told[:FINDINGS_MAX]))


def stuck(history: History) -> Verdict:
    """Keys with a record on the pipeline's way that has no outcome."""
    return Verdict.of(
        f"{key}: {waiting} records without an outcome"
        for key, waiting in sorted(Counter(map(key_of, _under_way(history))).items())
    )


def lost(history: History) -> Verdict:
    """Acknowledged, and gone. A key that is stuck has lost nothing yet."""
    ended = {one.task_id for one in history.seen if one.hop == REPORTED}
    gone = history.sent - ended - set(history.dead_letters) - set(_under_way(history))
    on_log = {one.task_id: str(one) for one in history.seen}
    return Verdict.of(
        f"{on_log.get(task_id, f'{task_id}, nowhere')} never came to the pipeline's end"
        for task_id in sorted(gone)
    )


def duplicated(history: History) -> Verdict:
    """The same number of the same key twice at one hop."""
    at_end = [*history.dead_letters, *(s.task_id for s in history.seen if s.hop == REPORTED)]
    between = [s.task_id for s in history.seen if s.hop == FINISHED]
    places = defaultdict(list)
    for one in history.seen:
        places[one.task_id].append(f"{one.source}@{one.position} after {one.caused_by}")
    return Verdict.of(
        f"{task_id} is there {count} times {where} ({'; '.join(places[task_id])})"
        for where, ids in (("at the end", at_end), ("between the hops", between))
        for task_id, count in Counter(ids).items()
        for _ in range(count - 1)
    )


def reordered(history: History) -> Verdict:
    """A key's numbers must rise along its partition, at every hop; a repeat is no step back."""
    highest: dict[tuple[int, str], int] = {}
    steps = []
    for one in history.seen:
        along, number = (one.hop, key_of(one.task_id)), number_of(one.task_id)
        if number < highest.get(along, -1):
            steps.append(f"{one} comes after number {highest[along]} of its key")
        highest[along] = max(number, highest.get(along, -1))
    return Verdict.of(steps)


def torn(history: History) -> Verdict:
    """A position and its outputs (or its dead letter), one without the other."""
    outcomes = history.outcomes()
    sources = {one.id: one for one in history.seen if one.hop != REPORTED}
    caused = {one.caused_by for one in history.seen if one.hop != ASSIGNED}
    dead = set(history.dead_letters)

    def halves() -> Iterator[str]:
        for one in sources.values():
            outcome = outcomes.get(one.source, {}).get(one.position)
            if outcome == HANDLED and one.id not in caused:
                yield f"{one} was handled, its output is not there"
            if outcome == DEAD_LETTERED and one.task_id not in dead:
                yield f"{one} was dead-lettered, its dead letter is not there"
        for one in history.seen:
            cause = sources.get(one.caused_by)
            if one.hop != ASSIGNED and cause is not None:
                outcome = outcomes.get(cause.source, {}).get(cause.position)
                if outcome != HANDLED:
                    yield f"{one} is there, what caused it was {outcome or 'not handled'}"

    return Verdict.of(halves())


def aborted_read(history: History) -> Verdict:
    """Nothing may come from what is not on the log."""
    visible = {one.id for one in history.seen}
    return Verdict.of(
        f"{one} was never to be committed"
        if one.task_id in history.never_committed
        else f"{one} was caused by {one.caused_by}, which is not on the log"
        for one in history.seen
        if one.task_id in history.never_committed
        or (one.hop != ASSIGNED and one.caused_by not in visible)
    )


def non_monotonic(history: History) -> Verdict:
    """A partition's commits must chain, and no committed position may be seen to go back."""
    reached: dict[Partition, int] = {}
    broken = []
    for commit in history.commits:
        before = reached.get(commit.source)
        if before is not None and commit.prefix_from != before:
            broken.append(
                f"{commit.source}: a commit from {commit.prefix_from} follows one up to {before}"
            )
        reached[commit.source] = max(commit.prefix_to, before or 0)
    return Verdict.of([*broken, *history.steps_back])


def forked(history: History) -> Verdict:
    """A stream has one writer, and its versions count from 1."""
    return Verdict.of(history.forks)


def state_differs(history: History) -> Verdict:
    """What is rebuilt is what was decided on."""
    return Verdict.of(history.differing_states)


CHECKERS: Final[Mapping[str, Callable[[History], Verdict]]] = {
    check.__name__: check
    for check in (lost, duplicated, reordered, torn, stuck, aborted_read, non_monotonic)
}


OF_STREAMS: Final[Mapping[str, Callable[[History], Verdict]]] = {
    check.__name__: check for check in (forked, state_differs)
}


def check(history: History, *, streams: bool = False) -> dict[str, Verdict]:
    """What each checker says, those of streams only where there are any."""
    asked = {**CHECKERS, **(OF_STREAMS if streams else {})}
    return {name: checker(history) for name, checker in asked.items()}


def _under_way(history: History) -> list[str]:
    """Task ids of the records on the pipeline's way that have no outcome."""
    outcomes = history.outcomes()
    return [
        one.task_id
        for one in history.seen
        if one.hop != REPORTED and one.position not in outcomes.get(one.source, {})
    ]
