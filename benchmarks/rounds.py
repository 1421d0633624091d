"""Contenders in turn: A B C, A B C, …, after one round that warms everybody and is not counted."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

from benchmarks.figures import Measured
from benchmarks.quiet import wait_for_quiet
from benchmarks.stage import Stage

T = TypeVar("T")

Run = Callable[[], float]
"""Does the whole work once; returns its records per second."""


class Contender(NamedTuple, Generic[T]):
    """Somebody who can do the work. `run` does the whole of it once, and says how it went."""

    name: str
    run: Callable[[], T]


class Turns(NamedTuple, Generic[T]):
    """One contender's runs, one for each round."""

    name: str
    found: list[T]
    others: list[float]
    """Share of the processors that others used when each began; empty where unknown."""


def alternate(stage: Stage, contenders: Sequence[Contender[float]], rounds: int) -> list[Measured]:
    """Each contender's rates over the rounds, in the order given."""
    turns = take_turns(stage, contenders, rounds, lambda rate: f"{rate:,.0f}/s")
    return [Measured(*one) for one in turns]


def take_turns(
    stage: Stage,
    contenders: Sequence[Contender[T]],
    rounds: int,
    shown: Callable[[T], str] = str,
    *,
    warm_up: bool = True,
) -> list[Turns[T]]:
    """Each contender's runs over the rounds, in the order given."""
    turns = {contender.name: Turns[T](contender.name, [], []) for contender in contenders}
    # The workload lives as long as the bench: no collector should walk it for one contender's sake.
    gc.collect()
    gc.freeze()
    for number in range(0 if warm_up else 1, rounds + 1):
        for name, run in contenders:
            gc.collect()
            others = None if stage.quick else wait_for_quiet()
            found = run()
            if number:
                turns[name].found.append(found)
                turns[name].others.extend(() if others is None else (others,))
            stage.say(f"  {f'round {number}' if number else 'warm-up'}  {name}: {shown(found)}")
    gc.unfreeze()
    return list(turns.values())


def others_in(turns: Iterable[Turns[T]]) -> list[float]:
    """What others used when any of these runs began."""
    return [share for one in turns for share in one.others]
