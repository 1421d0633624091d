"""Plans: what one handler does with one record, decided by the seed alone.

A record's subject says where it comes from: `12` is the twelfth of the load, `12.a.0` the first
output that handler `a` made of it.
"""

from __future__ import annotations

import random
from typing import Final

import msgspec

TIMEOUT_MS: Final = 320
"""Of handlers that have one. No plan's steps come near it."""
FAST_MS_MAX: Final = 200
SLOW_MS: Final = (420, 900, 2_500)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One handler on one record."""

    steps_ms: tuple[int, ...] = ()
    """What it waits for, one after the other; none: it never suspends."""
    outputs: int = 1
    failures: int = 0
    """Attempts of each owner that fail."""
    poison: bool = False
    """Whether all of them do."""
    final: bool = False
    """Whether it fails with what no later attempt can mend."""
    crashes: int = 0
    """How often it takes its process along; -1: always."""
    failures_first: int = 0
    """Attempts of each owner that fail before one takes its process along."""
    crash_ms: int = 0
    """When in an attempt it does so."""
    deaf_ms: int = 0
    """How long it goes on although it was interrupted."""
    returns: bool = False
    """Whether it then ends as if nothing had happened."""
    effect: bool = False
    """Whether it acts outside of the log first."""

    @property
    def waits_ms(self) -> int:
        """How long one attempt takes."""
        return sum(self.steps_ms)


class Odds(msgspec.Struct, frozen=True, kw_only=True):
    """How often plans are unusual, 0 to 1."""

    slow: float = 0.0
    fast: float = 0.3
    failing: float = 0.0
    poison: float = 0.0
    final: float = 0.0
    deaf: float = 0.0
    effect: float = 0.0


def plan_for(seed: int, subject: str, handler: str, odds: Odds, *, timed: bool) -> Plan:
    """What `handler` does with the record of this subject. `timed`: it has a timeout."""
    rng = random.Random(f"{seed}/{subject}/{handler}")  # a text: no hash of the process is in it
    steps: tuple[int, ...] = ()
    if rng.random() < odds.slow:
        steps = (rng.choice(SLOW_MS),)
    elif rng.random() >= odds.fast:
        count = rng.randint(1, 3)
        steps = tuple(rng.randint(0, FAST_MS_MAX // count) for _ in range(count))
    deaf = rng.random() < odds.deaf
    return Plan(
        steps_ms=steps,
        outputs=rng.choice((0, 1, 1, 1, 2)),
        failures=rng.randint(1, 3) if rng.random() < odds.failing else 0,
        poison=rng.random() < odds.poison,
        final=rng.random() < odds.final,
        deaf_ms=rng.choice((0, 5, 300, 4_000)) if deaf else 0,
        returns=deaf and not timed and rng.random() < 0.5,
        effect=rng.random() < odds.effect,
    )


def crashing(plan: Plan, rng: random.Random, *, attempts_max: int) -> Plan:
    """The same, but it takes its process along."""
    return msgspec.structs.replace(
        plan,
        steps_ms=(FAST_MS_MAX,) if rng.random() < 0.7 else (),
        crashes=rng.choice((-1, -1, 1, 2)),
        crash_ms=rng.choice((0, 0, rng.randrange(FAST_MS_MAX))),
        deaf_ms=0,
        returns=False,
        failures_first=rng.choice((0, 0, 0, 0, min(1, attempts_max - 1))),
    )
