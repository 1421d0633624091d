"""Contenders in turn: A B C, A B C, …, after one round that warms everybody and is not counted."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmarks.figures import Measured
from benchmarks.quiet import wait_for_quiet

Run = Callable[[], float]
"""Does the whole work once; returns its records per second."""


class Contender(NamedTuple):
    """Somebody who can do the work."""

    name: str
    run: Run


def alternate(
    contenders: Sequence[Contender], rounds: int, say: Callable[[str], None]
) -> list[Measured]:
    """Each contender's rates over the rounds, in the order given."""
    measured = {contender.name: Measured(contender.name, [], []) for contender in contenders}
    # The workload lives as long as the bench: no collector should walk it for one contender's sake.
    gc.collect()
    gc.freeze()
    for number in range(rounds + 1):
        for name, run in contenders:
            gc.collect()
            others = wait_for_quiet()
            rate = run()
            if number:
                measured[name].rates.append(rate)
                measured[name].others.extend(() if others is None else (others,))
            say(f"  {f'round {number}' if number else 'warm-up'}  {name}: {rate:,.0f}/s")
    gc.unfreeze()
    return list(measured.values())
