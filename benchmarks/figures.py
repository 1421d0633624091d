"""What was measured: rates by contender, and figures with their bars, round by round.

A ratio is taken within each round and the median of those is reported: what slows the machine for
a while slows both sides of a round, and cancels. A figure of its own (a latency, say) is the median
of the rounds too, but the machine's.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any, Literal

import msgspec


class Measured(msgspec.Struct, frozen=True):
    """One contender's rates, in records per second, one for each round."""

    name: str
    rates: list[float]
    others: list[float]
    """Share of the processors that others used when each round began; empty where unknown."""

    @property
    def median_per_s(self) -> float:
        """The rate that is reported."""
        return median(self.rates)


class Bar(msgspec.Struct, frozen=True):
    """What was promised of a figure."""

    sign: Literal["≥", "≤", "<"]
    limit: float

    def met_by(self, value: float) -> bool:
        """Whether the value keeps the promise."""
        match self.sign:
            case "≥":
                return value >= self.limit
            case "≤":
                return value <= self.limit
            case "<":
                return value < self.limit


def at_least(limit: float) -> Bar:
    """More is better."""
    return Bar("≥", limit)


def at_most(limit: float) -> Bar:
    """Less is better."""
    return Bar("≤", limit)


def below(limit: float) -> Bar:
    """Less is better, and the limit itself too much."""
    return Bar("<", limit)


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One number that is reported: a ratio, or a value with a unit."""

    meaning: str
    rounds: list[float]
    unit: str = ""
    """Of the rounds and of the bar; empty for a ratio."""
    bar: Bar | None = None
    """What the median must keep to; None where nothing was promised."""

    @property
    def median(self) -> float:
        """The number that is reported."""
        return median(self.rounds)

    @property
    def met(self) -> bool | None:
        """Whether the bar is kept; None without one."""
        return None if self.bar is None else self.bar.met_by(self.median)


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What one bench found."""

    bench: str
    workload: str
    """What was run, with its sizes, in a sentence or two."""
    measured: Sequence[Measured] = ()
    figures: Sequence[Figure]
    others: Sequence[float] = ()
    """Share of the processors that others used when each of the other runs began."""

    @property
    def others_most(self) -> float | None:
        """The largest share of the processors that others used when a run began."""
        shares = [share for one in self.measured for share in one.others]
        return max([*shares, *self.others], default=None)

    def as_json(self) -> dict[str, Any]:
        """For machines: every round, and what is reported of them."""
        return {
            "bench": self.bench,
            "workload": self.workload,
            "records_per_s": {
                one.name: {
                    "median": one.median_per_s,
                    "rounds": one.rates,
                    "cpu_used_by_others": one.others,
                }
                for one in self.measured
            },
            "figures": [
                {
                    "meaning": figure.meaning,
                    "unit": figure.unit,
                    "median": figure.median,
                    "rounds": figure.rounds,
                    "bar": figure.bar,
                    "met": figure.met,
                }
                for figure in self.figures
            ],
            "cpu_used_by_others": self.others,
        }


def ratio(meaning: str, of: Measured, to: Measured, *, bar: Bar | None = None) -> Figure:
    """`of` over `to`, round by round."""
    rounds = [ours / theirs for ours, theirs in zip(of.rates, to.rates, strict=True)]
    return Figure(meaning=meaning, rounds=rounds, bar=bar)
