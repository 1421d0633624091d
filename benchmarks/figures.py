"""What was measured: rates by contender, and ratios between two of them, round by round.

A ratio is taken within each round and the median of those is reported: what slows the machine for
a while slows both sides of a round, and cancels.
"""

from __future__ import annotations

from statistics import median
from typing import Any

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


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """One contender's rate over another's."""

    meaning: str
    rounds: list[float]
    bar: float | None = None
    """What the median must reach; None where nothing was promised."""

    @property
    def median(self) -> float:
        """The ratio that is reported."""
        return median(self.rounds)

    @property
    def met(self) -> bool | None:
        """Whether the bar is reached; None without one."""
        return None if self.bar is None else self.median >= self.bar


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What one bench found."""

    bench: str
    workload: str
    """What was run, with its sizes, in a sentence or two."""
    measured: list[Measured]
    ratios: list[Ratio]

    @property
    def others_most(self) -> float | None:
        """The largest share of the processors that others used when a round began."""
        return max((share for one in self.measured for share in one.others), default=None)

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
            "ratios": [
                {
                    "meaning": ratio.meaning,
                    "median": ratio.median,
                    "rounds": ratio.rounds,
                    "bar": ratio.bar,
                    "met": ratio.met,
                }
                for ratio in self.ratios
            ],
        }


def ratio(meaning: str, of: Measured, to: Measured, *, bar: float | None = None) -> Ratio:
    """`of` over `to`, round by round."""
    rounds = [ours / theirs for ours, theirs in zip(of.rates, to.rates, strict=True)]
    return Ratio(meaning=meaning, rounds=rounds, bar=bar)
