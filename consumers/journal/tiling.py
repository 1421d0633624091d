"""Tiling: the proof that every record ended exactly once, by arithmetic on the journal.

For one group and one source partition, over all its journal records together:

1. the commits chain: each `prefix_from` is the `prefix_to` before it;
2. no position is in two sets (an overlap: it ended twice);
3. every visible position below the last `prefix_to` is in a set (a gap: nobody knows how it
   ended; what lies below the first `prefix_from` was never even read), and no set holds an
   invisible one (a phantom).

4. what the broker has committed for the group is a moment of that chain: the committed position is
   a `prefix_to`, and what its mark says is finished beyond it is what the journal said by then.

So accepted = handled + expired + dead-lettered + skipped + in flight holds by proof. Each fault
names its lowest position.

A group that was told to deliver at least once writes its journal before it commits: after a crash
positions may be in it twice, and its chain steps back. Those are counted, and are no fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from consumers.journal.outcomes import Delivery
from consumers.journal.runs import decode_runs
from consumers.marks import Mark

FaultKind = Literal["gap", "overlap", "phantom", "broken_chain", "mark"]


class TilingFault(msgspec.Struct, frozen=True):
    """One way in which a journal does not tile its source."""

    kind: FaultKind
    position: int
    detail: str


class TilingResult(msgspec.Struct, frozen=True):
    """What the journal of one group says about one source partition, checked."""

    prefix_from: int
    """Where the group began to read."""
    prefix_to: int
    """The committed position that the journal reached."""
    outcomes: Mapping[str, int]
    """Records by outcome."""
    accepted: int
    """Visible records below the cut."""
    in_flight: int
    """Of these, without an outcome at or above `prefix_to`."""
    lost: int
    """Of these, without an outcome below `prefix_to`."""
    repeated: int
    """Positions that ended more often than once, where at least once was what was asked."""
    faults: tuple[TilingFault, ...]
    """The first fault of each kind, lowest position first; empty: it tiles."""


class _Run(msgspec.Struct, frozen=True, order=True):
    """Consecutive positions with one outcome."""

    start: int
    stop: int
    entry: int
    """Which journal record says so, counted from 0."""
    outcome: str
    repeatable: bool
    """Whether delivery was at least once."""


class Tiling:
    """Collects the journal of one group and source partition, then checks it.

    Feed payloads in log order. Memory grows with the number of runs and of journal records, not of
    positions.
    """

    def __init__(self) -> None:
        self._runs: list[_Run] = []
        self._began: int | None = None
        self._prefixes: list[int] = []
        """Where each journal record moved the prefix to."""
        self._repeated = 0
        self._faults: dict[FaultKind, TilingFault] = {}

    def add(self, payload: Mapping[str, Any]) -> None:
        """One `OutcomesRecorded` payload."""
        prefix_from, prefix_to = payload["prefix_from"], payload["prefix_to"]
        repeatable = payload.get("delivery") == Delivery.AT_LEAST_ONCE
        if repeatable:  # a zombie's commit, which steps back, may lie between those of the owner
            reached = max(self._prefixes, default=prefix_from)
        else:
            reached = self._prefixes[-1] if self._prefixes else prefix_from
        if self._began is None:
            self._began = prefix_from
        if prefix_from > reached or (prefix_from < reached and not repeatable):
            self._fault(
                "broken_chain",
                min(prefix_from, reached),
                f"a commit from {prefix_from} follows one up to {reached}",
            )
        for finished in payload["finished"]:
            self._runs += [
                _Run(run.start, run.stop, len(self._prefixes), finished["outcome"], repeatable)
                for run in decode_runs(finished["runs"])
            ]
        self._prefixes.append(prefix_to)

    def check(self, visible: Iterable[int], mark: Mark | None = None) -> TilingResult:
        """Compare with the source's visible positions, which must come in increasing order, and
        with the mark that the broker had committed before the journal was read.

        Give positions from the partition's first up to the cut: groups begin with the first.
        """
        runs = self._merged()
        prefix_to = max(self._prefixes, default=0)
        # At least once, the journal may say more than was committed when its writer died.
        comparable = mark is not None and not any(run.repeatable for run in runs)
        committed = _Committed(mark, self._prefixes, self._began) if comparable and mark else None
        outcomes: Counter[str] = Counter()
        accepted = in_flight = lost = at = 0
        covered = runs[0].start if runs else 0
        for position in visible:
            accepted += 1
            while at < len(runs) and runs[at].stop <= position:
                self._phantoms(covered, runs[at].stop)
                at += 1
                covered = runs[at].start if at < len(runs) else 0
            run = runs[at] if at < len(runs) and runs[at].start <= position else None
            if committed is not None:
                committed.look(position, run.entry if run is not None else None)
            if run is not None:
                self._phantoms(covered, position)
                covered = position + 1
                outcomes[run.outcome] += 1
            elif position < prefix_to:
                lost += 1
                self._fault("gap", position, "is below the committed position, without an outcome")
            else:
                in_flight += 1
        while at < len(runs):
            self._phantoms(covered, runs[at].stop)
            at += 1
            covered = runs[at].start if at < len(runs) else 0
        if committed is not None and (found := committed.fault()) is not None:
            self._fault("mark", *found)
        faults = tuple(sorted(self._faults.values(), key=lambda fault: fault.position))
        return TilingResult(
            self._began or 0,
            prefix_to,
            dict(outcomes),
            accepted,
            in_flight,
            lost,
            self._repeated,
            faults,
        )

    def _merged(self) -> list[_Run]:
        """Runs in order without overlaps; an overlap is a fault, the earlier run wins."""
        merged: list[_Run] = []
        end = -1
        for run in sorted(self._runs):
            if run.start < end:
                if run.repeatable and merged[-1].repeatable:
                    self._repeated += min(run.stop, end) - run.start
                else:
                    self._fault(
                        "overlap",
                        run.start,
                        f"is {run.outcome} and was {merged[-1].outcome}: it ended twice",
                    )
            if run.stop > end:
                merged.append(msgspec.structs.replace(run, start=max(run.start, end)))
                end = run.stop
        return merged

    def _phantoms(self, covered: int, position: int) -> None:
        if covered < position:
            self._fault("phantom", covered, "has an outcome, but no record is visible there")

    def _fault(self, kind: FaultKind, position: int, detail: str) -> None:
        found = self._faults.get(kind)
        if found is None or position < found.position:
            self._faults[kind] = TilingFault(kind, position, detail)


class _Committed:
    """What the broker had committed, compared with the moments of the journal's chain.

    The journal records 0 to n fit if they finished all that the mark says is finished, and nothing
    else. Looking at every visible position once tells from which n on, and up to which.
    """

    def __init__(self, mark: Mark, prefixes: Sequence[int], began: int | None) -> None:
        self._mark = mark
        self._at = 0
        self._first = -1
        """The lowest moment at which all is finished that the mark says."""
        self._last = len(prefixes) - 1
        """The highest at which nothing else is."""
        self._began = began
        self._prefixes = prefixes
        self._reached = max(prefixes, default=0)
        self._wrong: tuple[int, str] | None = None

    def look(self, position: int, entry: int | None) -> None:
        """A visible position, and which journal record finished it."""
        mark = self._mark
        while self._at < len(mark.finished) and mark.finished[self._at][1] <= position:
            self._at += 1
        inside = self._at < len(mark.finished) and mark.finished[self._at][0] <= position
        if position < mark.position or inside:
            if entry is not None:
                self._first = max(self._first, entry)
            elif self._wrong is None and (inside or position >= self._reached):
                how = "finished by the group's mark" if inside else "below what the group committed"
                self._wrong = position, f"is {how}, but its journal has no outcome"
        elif entry is not None:
            self._last = min(self._last, entry - 1)

    def fault(self) -> tuple[int, str] | None:
        """The position and what is wrong with it; None if the mark fits."""
        position = self._mark.position
        if self._wrong is not None:
            return self._wrong
        if not self._prefixes and self._began is None:
            return (
                None  # nothing was settled yet: a group's first commit only says that it is there
            )
        moments = range(max(self._first, 0), self._last + 1)
        if position == self._began and self._first < 0:
            return None
        if any(self._prefixes[moment] == position for moment in moments):
            return None
        return position, "is the committed position with its mark, but no moment of the journal"
