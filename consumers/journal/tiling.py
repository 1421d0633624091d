"""Tiling: the proof that every record ended exactly once, by arithmetic on the journal.

For one group and one source partition, over all its journal records together:

1. the commits chain: each `prefix_from` is the `prefix_to` before it;
2. no position is in two sets (an overlap: it ended twice);
3. every visible position below the last `prefix_to` is in a set (a gap: nobody knows how it
   ended; what lies below the first `prefix_from` was never even read), and no set holds an
   invisible one (a phantom).

So accepted = handled + expired + dead-lettered + skipped + in flight holds by proof. Each fault
names its lowest position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from consumers.journal.runs import decode_runs

FaultKind = Literal["gap", "overlap", "phantom", "broken_chain"]


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
    faults: tuple[TilingFault, ...]
    """The first fault of each kind, lowest position first; empty: it tiles."""


class Tiling:
    """Collects the journal of one group and source partition, then checks it.

    Feed payloads in log order. Memory grows with the number of runs, not of positions.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[int, int, str]] = []
        self._began: int | None = None
        self._prefix_to = 0
        self._faults: dict[FaultKind, TilingFault] = {}

    def add(self, payload: Mapping[str, Any]) -> None:
        """One `OutcomesRecorded` payload."""
        prefix_from, prefix_to = payload["prefix_from"], payload["prefix_to"]
        if self._began is None:
            self._began = prefix_from
        elif prefix_from != self._prefix_to:
            self._fault(
                "broken_chain",
                min(prefix_from, self._prefix_to),
                f"a commit from {prefix_from} follows one up to {self._prefix_to}",
            )
        self._prefix_to = max(self._prefix_to, prefix_to)
        for finished in payload["finished"]:
            outcome = finished["outcome"]
            for run in decode_runs(finished["runs"]):
                self._runs.append((run.start, run.stop, outcome))

    def check(self, visible: Iterable[int]) -> TilingResult:
        """Compare with the source's visible positions, which must come in increasing order.

        Give them from the partition's first up to the cut: groups begin with the first.
        """
        runs = self._merged()
        outcomes: Counter[str] = Counter()
        accepted = in_flight = lost = 0
        at = 0
        covered = runs[0][0] if runs else 0
        for position in visible:
            accepted += 1
            while at < len(runs) and runs[at][1] <= position:
                self._phantoms(covered, runs[at][1])
                at += 1
                covered = runs[at][0] if at < len(runs) else 0
            if at < len(runs) and runs[at][0] <= position:
                self._phantoms(covered, position)
                covered = position + 1
                outcomes[runs[at][2]] += 1
            elif position < self._prefix_to:
                lost += 1
                self._fault("gap", position, "is below the committed position, without an outcome")
            else:
                in_flight += 1
        while at < len(runs):
            self._phantoms(covered, runs[at][1])
            at += 1
            covered = runs[at][0] if at < len(runs) else 0
        faults = tuple(sorted(self._faults.values(), key=lambda fault: fault.position))
        return TilingResult(
            self._began or 0, self._prefix_to, dict(outcomes), accepted, in_flight, lost, faults
        )

    def _merged(self) -> list[tuple[int, int, str]]:
        """Runs in order without overlaps; an overlap is a fault, the earlier run wins."""
        merged: list[tuple[int, int, str]] = []
        end = -1
        for start, stop, outcome in sorted(self._runs):
            if start < end:
                self._fault(
                    "overlap", start, f"is {outcome} and was {merged[-1][2]}: it ended twice"
                )
            if stop > end:
                merged.append((max(start, end), stop, outcome))
                end = stop
        return merged

    def _phantoms(self, covered: int, position: int) -> None:
        if covered < position:
            self._fault("phantom", covered, "has an outcome, but no record is visible there")

    def _fault(self, kind: FaultKind, position: int, detail: str) -> None:
        found = self._faults.get(kind)
        if found is None or position < found.position:
            self._faults[kind] = TilingFault(kind, position, detail)
