"""Replays under random schedules: killed at any batch, again and again, their files damaged.

One seed is one log and a few replays of it. What a replay comes to in the end must be what one
comes to that nobody disturbs: replay_equals_live's other half, named resumed_equals_whole.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

from consumers.projections import AgentState, Filters, Metrics, Projection
from consumers.replay import Replayed, replay
from streams.cuts import Cut
from streams.memory import MemoryLog, MemoryLogReader
from streams.record import Partition
from streams.topics import TASKS, TOPICS
from tests.consumers.folds.stopping import NAMESPACE, Killed, StoppingReader
from tests.consumers.projections.strategies import CODEC
from tests.consumers.worker.harness import assign_task

PARTITIONS: Final = 3
RUNS_MAX: Final = 60
"""A replay is killed so often at most; then it is left alone."""
FILTERS: Final = (Filters(), Filters(), Filters(agent="a1"), Filters(key="k"))


class Simulated(NamedTuple):
    """What became of one seed."""

    seed: int
    findings: list[str]
    happened: Counter[str]


def simulate(seed: int, home: Path) -> Simulated:
    """One seed; `home` is an empty folder for what replays keep."""
    rng = random.Random(f"{seed}/replays")
    happened: Counter[str] = Counter()
    findings: list[str] = []
    log = MemoryLog()
    log.provision(NAMESPACE, TOPICS)
    _grow(log, rng, rng.randint(0, 80))
    for _ in range(rng.randint(1, 3)):
        projection: Projection[Any] = rng.choice((AgentState(), Metrics()))
        asked: dict[str, Any] = {"filters": rng.choice(FILTERS), "columnar": rng.random() < 0.5}
        if rng.random() < 0.5:
            asked["cut"] = _some_cut(log, rng)
            happened["cut"] += 1
        done = _until_done(log, rng, home, projection, asked, happened)
        whole = _replay(log, None, projection, None, asked)
        if (done.digest, done.tally) != (whole.digest, whole.tally):
            findings.append(f"{projection.name} {asked}: {done.tally} is not {whole.tally}")
    return Simulated(seed, findings, happened)


def _until_done(
    log: MemoryLog,
    rng: random.Random,
    home: Path,
    projection: Projection[Any],
    asked: dict[str, Any],
    happened: Counter[str],
) -> Replayed[Any]:
    for _ in range(rng.randrange(RUNS_MAX)):
        fresh = rng.random() < 0.1
        try:
            done = _replay(
                log, home, projection, rng.randint(0, 6), {**asked, "fresh": fresh}, happened
            )
        except Killed:
            happened["killed"] += 1
        else:
            if "cut" in asked or rng.random() < 0.5:
                return done
        if rng.random() < 0.2:
            _damage(home, rng, happened)
        if rng.random() < 0.2:
            _grow(log, rng, rng.randint(1, 10))
            happened["grew"] += 1
    return _replay(log, home, projection, None, asked, happened)


def _replay(
    log: MemoryLog,
    home: Path | None,
    projection: Projection[Any],
    batches_max: int | None,
    asked: dict[str, Any],
    happened: Counter[str] | None = None,
) -> Replayed[Any]:
    noted: list[str] = []
    try:
        return replay(
            projection,
            reader=StoppingReader(log, batches_max),
            namespace=NAMESPACE,
            codec=CODEC,
            workers=1,
            keep_in=home,
            on_note=noted.append,
            **asked,
        )
    finally:
        if happened is not None:
            happened["went on"] += any(note.startswith("going on") for note in noted)
            happened["passed over"] += any("is passed over" in note for note in noted)


def _grow(log: MemoryLog, rng: random.Random, records: int) -> None:
    first = sum(log.end(Partition(NAMESPACE.topic(TASKS), n)) for n in range(PARTITIONS))
    for n in range(first, first + records):
        source = Partition(NAMESPACE.topic(TASKS), rng.randrange(PARTITIONS))
        value = CODEC.encode(assign_task(n, "k", recipients=(f"a{rng.randrange(5)}",)))
        log.append(source, b"k", value[:-1] if rng.random() < 0.05 else value)


def _some_cut(log: MemoryLog, rng: random.Random) -> Cut:
    now = MemoryLogReader(log).ends(NAMESPACE.topics(AgentState().topics))
    ends = {source: rng.randint(0, end) for source, end in now}
    return Cut(cluster_id=now.cluster_id, topic_ids=now.topic_ids, ends=ends)


def _damage(home: Path, rng: random.Random, happened: Counter[str]) -> None:
    """A bit of some file flips, or its end is missing."""
    if not (found := sorted(home.rglob("*.state"))):
        return
    path = rng.choice(found)
    content = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        del content[rng.randrange(len(content)) :]
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    happened["damaged"] += 1
