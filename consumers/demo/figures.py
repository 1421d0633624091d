"""Figures of the report that come from the ledger and the delivery histogram."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from consumers.demo.ledger import Run
from consumers.journal.histogram import quantile

_FRACTIONS: Final = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


class Share(msgspec.Struct, frozen=True):
    """What one worker process did."""

    pid: int
    before_kill: int
    after_kill: int
    killed: bool


@dataclass(frozen=True, slots=True)
class Work:
    """What happened while the fleet ran."""

    killed: int
    """Pid of the worker that got SIGKILL."""
    killed_ms: int
    """When, epoch milliseconds."""
    seconds: float
    expected: int
    """Handler runs, had nobody been killed."""


def delivery_ms(buckets: Mapping[int, int]) -> dict[str, int | None]:
    """Percentiles of append to dispatch, from the journal's histogram."""
    return {name: quantile(buckets, fraction) for name, fraction in _FRACTIONS.items()}


def shares(runs: Sequence[Run], work: Work) -> list[Share]:
    """What each worker process did before and after the kill, in order of appearance."""
    return [
        Share(
            pid=pid,
            before_kill=sum(run.pid == pid and run.at_ms <= work.killed_ms for run in runs),
            after_kill=sum(run.pid == pid and run.at_ms > work.killed_ms for run in runs),
            killed=pid == work.killed,
        )
        for pid in dict.fromkeys(run.pid for run in runs)
    ]


def recovered_s(runs: Sequence[Run], work: Work) -> float | None:
    """From the kill to the first time that another begins what the victim had begun; None if all
    that it had begun was committed.
    """
    theirs = {run.record for run in runs if run.pid == work.killed}
    again = [run.at_ms for run in runs if run.at_ms > work.killed_ms and run.record in theirs]
    return round((min(again) - work.killed_ms) / 1000, 3) if again else None
