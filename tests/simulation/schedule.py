"""Schedules: from a seed, all that is going to happen. Pure data; `world` performs it.

A seed first draws how rough it is going to be, so that some runs are nearly calm and others are
full of one kind of trouble: what happens together in one run matters more than how much there is.
"""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Final, Literal

import msgspec

from consumers.retry import RetryPolicy
from consumers.worker.memory import Call
from streams.memory import Fault
from tests.simulation.plans import TIMEOUT_MS, Odds, Plan, crashing, plan_for

LOADS_MAX: Final = 18
HORIZON_MS: Final = 6_000
"""Until then things begin to go wrong."""


class Kind(StrEnum):
    """What a record of the load is."""

    PLAIN = "plain"
    DUPLICATE = "duplicate"
    """Another record's envelope once more."""
    EXPIRING = "expiring"
    UNDECODABLE = "undecodable"
    UNKNOWN_SCHEMA = "unknown_schema"
    NO_HANDLER = "no_handler"
    IMPORT = "import"
    REPLAY = "replay"
    CRASHING = "crashing"


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One record to publish."""

    at_ms: int
    subject: str
    kind: Kind
    key: str
    priority: int = 3
    ttl_ms: int = 0
    of: str = ""
    """Of a duplicate: whose."""


class Foreign(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction of somebody else's, on one partition of the input."""

    at_ms: int
    hold_ms: int
    loads: tuple[Load, ...]
    commits: bool


Action = Literal[
    "crash",
    "die_at",
    "hang_at",
    "expire",
    "deafen",
    "rebalance",
    "stop",
    "drain",
    "fault",
    "cancel",
    "raise_at",
    "move_at",
    "stop_at",
    "repeat",
]


AT_CALLS: Final[tuple[Action, ...]] = ("die_at", "hang_at", "raise_at", "move_at", "stop_at")
"""What waits for a call of a worker, and befalls it in the middle."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is done to the world. `slot` is a worker's place, whoever fills it then.

    `die_at` and `hang_at` wait for its next call of that kind: there it dies, or is thrown out of
    its group and hears of nothing `for_ms` long, in the middle of what it is about to do (H3, H4).
    `raise_at` makes such a call raise what no adapter of ours expects: the worker must end. In the
    middle of it `move_at` rebalances its group, and `fault` befalls that call: nobody knows how it
    ended, and its partitions go to others (H7); `stop_at` tells the worker to end. After `repeat`
    its client hands over the last `times` positions again (H14).
    """

    at_ms: int
    action: Action
    slot: int = 0
    subject: str = ""
    fault: str = ""
    """Name of a `Fault`."""
    times: int = 1
    for_ms: int = 0
    call: str = ""
    """Value of a `Call`."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Of the apps."""

    in_flight_max: int
    running_max: int
    commit_linger_ms: int
    dedup_window: int
    drain_ms_max: int
    retry: RetryPolicy
    delivery: Literal["exactly_once", "at_least_once"]
    timeout_ms: int | None
    concurrency_max: int | None
    handlers: tuple[str, ...]
    """Of the first hop."""
    mark_bytes_max: int
    commit_bytes_max: int
    journal_finished_max: int
    """Records that one journal record speaks of."""
    settled_at_once: int
    """Records after which a commit that is written down lets others go first."""


class Tempo(msgspec.Struct, frozen=True, kw_only=True):
    """How calls of workers on the log go: shares from 0 to 1 of all calls."""

    slow: float
    slow_ms: tuple[int, ...]
    dies: float
    deaths_max: int


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    seed: int
    partitions: int
    two_groups: bool
    """Whether each hop has a group of its own; else one group feeds itself."""
    workers: int
    """Places for workers of each group."""
    bounds: Bounds
    odds: Odds
    tempo: Tempo
    loads: tuple[Load, ...]
    foreign: tuple[Foreign, ...]
    events: tuple[Event, ...]

    plans: dict[tuple[str, str], Plan] = {}
    """Those that were asked for: by subject and handler."""

    def plan(self, subject: str, handler: str) -> Plan:
        """What a handler does with the record of this subject."""
        plan = self.plans.get((subject, handler))
        if plan is None:
            timed = self.bounds.timeout_ms is not None
            plan = plan_for(self.seed, subject, handler, self.odds, timed=timed)
            if subject in self._crashing and handler == "a":
                plan = crashing(
                    plan,
                    random.Random(f"{self.seed}/{subject}/crash"),
                    attempts_max=self.bounds.retry.attempts_max,
                )
            self.plans[subject, handler] = plan
        return plan

    @property
    def _crashing(self) -> frozenset[str]:
        return frozenset(one.subject for one in self.loads if one.kind is Kind.CRASHING)


def make_schedule(seed: int) -> Schedule:
    """The schedule of a seed."""
    rng = random.Random(seed)
    rough = rng.choice((0.3, 1.0, 1.0, 2.0))
    loads = _loads(rng)
    partitions = rng.choice((1, 1, 2, 3, 4))
    if kills := _killing(seed):
        loads, partitions = _with_killers(loads, kills), max(partitions, 2)
    return Schedule(
        seed=seed,
        partitions=partitions,
        two_groups=rng.random() < 0.4,
        workers=rng.choice((1, 2, 2, 3, 4)),
        bounds=_bounds(rng, seed),
        odds=Odds(
            slow=rng.choice((0.0, 0.1)),
            fast=rng.choice((0.0, 0.3, 1.0)),
            failing=rng.choice((0.0, 0.2)),
            poison=rng.choice((0.0, 0.0, 0.06)),
            final=rng.choice((0.0, 0.0, 0.06)),
            deaf=rng.choice((0.0, 0.0, 0.2)),
            effect=rng.choice((0.0, 0.2)),
        ),
        tempo=Tempo(
            slow=rng.choice((0.0, 0.05, 0.3)),
            slow_ms=rng.choice(((1, 5, 30), (0, 50, 400), (10, 1_500, 12_000))),
            dies=rng.choice((0.0, 0.0, 0.005, 0.02)),
            deaths_max=rng.randint(1, 4),
        ),
        loads=loads,
        foreign=_foreign(rng),
        events=(
            *_events(rng, rough, loads),
            *_raising(seed),
            *_meeting(seed),
            *_repeating(seed),
        ),
    )


def _bounds(rng: random.Random, seed: int) -> Bounds:
    wait_ms = rng.choice((1, 20, 200))
    return Bounds(
        in_flight_max=rng.choice((2, 5, 20, 100)),
        running_max=rng.choice((1, 2, 5, 20)),
        commit_linger_ms=rng.choice((0, 1, 10, 60)),
        dedup_window=rng.choice((0, 4, 20, 100)),
        drain_ms_max=rng.choice((20, 500, 5_000)),
        retry=RetryPolicy(
            attempts_max=rng.choice((1, 2, 3, 5)),
            wait_ms=wait_ms,
            wait_ms_max=wait_ms * 8,
            jitter=rng.choice((0.0, 0.5)),
        ),
        delivery="at_least_once" if rng.random() < 0.12 else "exactly_once",
        timeout_ms=TIMEOUT_MS if rng.random() < 0.15 else None,
        concurrency_max=rng.choice((None, None, None, 1, 2)),
        handlers=("a", "b") if rng.random() < 0.25 else ("a",),
        mark_bytes_max=rng.choice((3_008, 3_008, 4, 8)),
        commit_bytes_max=rng.choice((16_000_000, 16_000_000, 400)),
        journal_finished_max=_journal_finished_max(seed),
        settled_at_once=random.Random(f"{seed}/at once").choice((1_000, 1, 1, 3)),
    )


_ODD: Final = tuple(kind for kind in Kind if kind not in {Kind.PLAIN, Kind.CRASHING})


def _loads(rng: random.Random) -> tuple[Load, ...]:
    keys = [f"k{n}" for n in range(rng.choice((1, 2, 3, 6)))]
    odd = rng.choice((0.0, 0.15, 0.35))
    end_ms = rng.choice((0, 300, 2_500))
    loads: list[Load] = []
    for n in range(rng.randint(4, LOADS_MAX)):
        kind = Kind.PLAIN
        if rng.random() < odd:
            kind = rng.choice(_ODD)
        plain = [one for one in loads[-25:] if one.kind is Kind.PLAIN]
        if kind is Kind.DUPLICATE and plain:
            first = rng.choice(plain)
            at_ms = max(first.at_ms, rng.randint(0, end_ms))
            again = {"at_ms": at_ms, "subject": str(n), "kind": kind, "of": first.subject}
            loads.append(msgspec.structs.replace(first, **again))
            continue
        loads.append(
            Load(
                at_ms=rng.randint(0, end_ms),
                subject=str(n),
                kind=Kind.PLAIN if kind is Kind.DUPLICATE else kind,
                key=rng.choice(keys),
                priority=rng.choice((3, 3, 3, 1, 5)),
                ttl_ms=rng.choice((1, 100, 1_000)) if kind is Kind.EXPIRING else 0,
            )
        )
    innocent = [n for n, load in enumerate(loads) if load.kind is Kind.PLAIN]
    for n in rng.sample(innocent, min(len(innocent), rng.choice((0, 0, 0, 0, 1, 2)))):
        loads[n] = msgspec.structs.replace(loads[n], kind=Kind.CRASHING)
    return tuple(sorted(loads, key=lambda load: load.at_ms))


def _killing(seed: int) -> tuple[float, ...]:
    """Where in the load records kill, from 0 to 1: several, so that several partitions are careful
    at the same time; by lots of their own, as below.
    """
    rng = random.Random(f"{seed}/killers")
    count = rng.choice((2, 2, 3)) if rng.random() < 0.08 else 0
    return tuple(rng.random() for _ in range(count))


def _with_killers(loads: tuple[Load, ...], where: tuple[float, ...]) -> tuple[Load, ...]:
    innocent = [n for n, load in enumerate(loads) if load.kind is Kind.PLAIN]
    chosen = {innocent[int(share * len(innocent))] for share in where if innocent}
    return tuple(
        msgspec.structs.replace(load, kind=Kind.CRASHING) if n in chosen else load
        for n, load in enumerate(loads)
    )


def _foreign(rng: random.Random) -> tuple[Foreign, ...]:
    return tuple(
        Foreign(
            at_ms=rng.randint(0, 2_500),
            hold_ms=rng.choice((0, 50, 1_000, 11_000)),
            loads=tuple(
                Load(at_ms=0, subject=f"f{n}-{m}", kind=Kind.PLAIN, key=f"k{rng.randrange(4)}")
                for m in range(rng.randint(1, 3))
            ),
            commits=rng.random() < 0.4,
        )
        for n in range(rng.choice((0, 0, 1, 3)))
    )


_WEIGHTS: Final[dict[Action, int]] = {
    "crash": 2,
    "die_at": 4,
    "hang_at": 5,
    "expire": 2,
    "deafen": 2,
    "rebalance": 3,
    "stop": 1,
    "drain": 1,
    "fault": 6,
    "cancel": 2,
}


_LASTING: Final = frozenset({"deafen", "hang_at"})
_CALLS: Final = {
    Call.APPEND: 3,
    Call.SEND_POSITIONS: 4,
    Call.COMMIT: 4,
    Call.COMMIT_ANSWER: 3,
    Call.COMMITTED: 1,
    Call.INIT: 1,
    Call.COMMIT_POSITIONS: 1,
}
"""Where workers die or hang, and how often."""

_RAISING: Final = (
    Call.APPEND,
    Call.SEND_POSITIONS,
    Call.COMMIT,
    Call.COMMIT_ANSWER,
    Call.COMMIT_POSITIONS,
    Call.INIT,
)
"""Where commits raise."""


def _call(rng: random.Random) -> str:
    return rng.choices(list(_CALLS), list(_CALLS.values()))[0].value


def _journal_finished_max(seed: int) -> int:
    """By lots of its own, as below."""
    return random.Random(f"{seed}/journal").choice((50_000, 50_000, 50_000, 50_000, 1, 2))


def _raising(seed: int) -> tuple[Event, ...]:
    """By lots of their own: the schedules that there were before are as they were."""
    rng = random.Random(f"{seed}/raising")
    count = rng.choice((1, 2, 4)) if rng.random() < 0.15 else 0
    return tuple(
        Event(
            at_ms=rng.randint(0, 1_500),
            action="raise_at",
            slot=rng.randrange(8),
            call=rng.choice(_RAISING).value,
        )
        for _ in range(count)
    )


def _repeating(seed: int) -> tuple[Event, ...]:
    """By lots of their own as well."""
    rng = random.Random(f"{seed}/repeating")
    count = rng.choice((1, 3, 6)) if rng.random() < 0.2 else 0
    return tuple(
        Event(
            at_ms=rng.randint(0, 2_500),
            action="repeat",
            slot=rng.randrange(8),
            times=rng.choice((1, 2, 5, 30)),
        )
        for _ in range(count)
    )


def _meeting(seed: int) -> tuple[Event, ...]:
    """Rebalances and ends in the middle of calls; by lots of their own as well."""
    rng = random.Random(f"{seed}/meeting")
    count = rng.choice((1, 2, 4)) if rng.random() < 0.2 else 0
    return tuple(_meet(rng) for _ in range(count))


def _meet(rng: random.Random) -> Event:
    at_ms, slot = rng.randint(0, 1_500), rng.randrange(8)
    if rng.random() < 0.3:
        call = rng.choice((Call.COMMITTED, Call.COMMITTED, Call.COMMIT))
        return Event(at_ms=at_ms, action="stop_at", slot=slot, call=call.value)
    fault = rng.choice(("", Fault.COMMIT_LOST.name, Fault.COMMIT_ANSWER_LOST.name))
    call = Call.COMMIT if fault else rng.choice((Call.SEND_POSITIONS, Call.COMMIT_POSITIONS))
    return Event(at_ms=at_ms, action="move_at", slot=slot, call=call.value, fault=fault)


def _events(rng: random.Random, rough: float, loads: tuple[Load, ...]) -> tuple[Event, ...]:
    likely = rng.sample(list(_WEIGHTS), rng.randint(1, len(_WEIGHTS)))
    weights = [_WEIGHTS[action] for action in likely]
    horizon_ms = rng.choice((300, 1_000, 2_500, HORIZON_MS))
    events: list[Event] = []
    for _ in range(round(rng.randint(0, 8) * rough)):
        at_ms = rng.randint(0, horizon_ms)
        action = rng.choices(likely, weights)[0]
        fault = rng.choice(list(Fault)).name if action == "fault" else ""
        events.append(
            Event(
                at_ms=at_ms,
                action=action,
                slot=rng.randrange(8),
                subject=rng.choice(loads).subject if action == "cancel" else "",
                fault=fault,
                times=rng.choice((1, 1, 1, 2, 6)) if fault else 1,
                for_ms=rng.choice((100, 1_500, 8_000)) if action in _LASTING else 0,
                call=_call(rng) if action in {"die_at", "hang_at"} else "",
            )
        )
        if action == "deafen" and rng.random() < 0.7:
            # A zombie: out of the group, and the last to hear of it (H3, H4).
            events.append(Event(at_ms=at_ms, action="expire", slot=events[-1].slot))
    return tuple(sorted(events, key=lambda event: event.at_ms))
