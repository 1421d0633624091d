"""lanes: does one key's wait hold up another? One partition, handlers that wait 0 to 5 ms.

Records of one key run one after the other, so nobody can be done sooner than the key that takes
longest: the sum of its handlers' times, as measured around their waits. What the worker takes
longer than that, from the first record in a handler to the last commit, is its own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import uuid4

from benchmarks.figures import Figure, Results, at_most
from benchmarks.fill import fill
from benchmarks.history import history
from benchmarks.rounds import Contender, Turns, others_in, take_turns
from benchmarks.stage import Stage, open_codec
from benchmarks.workers import WORKER_TOPICS, TimedWorker, run_worker
from consumers.app import App
from consumers.context import Context
from streams.envelope import Envelope
from streams.schemas import Codec
from streams.topics import TASKS, Namespace

FEW_KEYS: Final = (1, 10, 20)
MANY_KEYS: Final = 1_000
RUNNING_MAX: Final = 100
WAIT_S_MAX: Final = 0.005
SEED: Final = 20_261
BAR_IDEAL: Final = 1.05
BAR_MANY_S: Final = 1.0


class Took(NamedTuple):
    """One run."""

    total_s: float
    """From the first record in a handler to the last commit."""
    slowest_key_s: float
    """What the handlers of one key took together, at most."""

    def __str__(self) -> str:
        return f"{self.total_s:.3f} s, slowest key {self.slowest_key_s:.3f} s"


def bench(stage: Stage) -> Results:
    """The same number of records on 1, 10, 20 and 1,000 keys."""
    codec, records = open_codec(), stage.size(10_000, 500)
    counts = (*FEW_KEYS, MANY_KEYS)
    with stage.namespaces(WORKER_TOPICS, len(counts), partitions=1) as namespaces:
        contenders = []
        for keys, namespace in zip(counts, namespaces, strict=True):
            envelopes = list(_on_keys(history(records), keys))
            fill(stage.bootstrap_servers, namespace.topic(TASKS), codec, envelopes, records)
            run = _Lanes(stage.bootstrap_servers, namespace, codec, envelopes).run
            contenders.append(Contender(f"{keys:,} keys", run))
        turns = take_turns(stage, contenders, stage.size(3, 1))
    return Results(
        bench="lanes",
        workload=f"{records:,} records on one partition, evenly on the keys; handlers wait 0 to "
        f"{WAIT_S_MAX * 1000:.0f} ms (seeded), {RUNNING_MAX} at once; exactly once, no outputs. "
        "From the first record in a handler to the last commit.",
        figures=[
            *(_over_ideal(keys, turn) for keys, turn in zip(FEW_KEYS, turns, strict=False)),
            Figure(
                meaning=f"time for {MANY_KEYS:,} keys",
                rounds=[found.total_s for found in turns[-1].found],
                unit="s",
                bar=at_most(BAR_MANY_S),
            ),
        ],
        others=others_in(turns),
    )


def _over_ideal(keys: int, turns: Turns[Took]) -> Figure:
    return Figure(
        meaning=f"time for {keys} key{'s' if keys > 1 else ''} over the slowest key's handlers",
        rounds=[found.total_s / found.slowest_key_s for found in turns.found],
        bar=at_most(BAR_IDEAL),
    )


def _on_keys(envelopes: Sequence[Envelope], keys: int) -> Iterator[Envelope]:
    for n, envelope in enumerate(envelopes):
        yield envelope.with_(correlation_id=f"key-{n % keys}")


class _Lanes:
    """Runs the worker over one topic, as a new group each time."""

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: Namespace,
        codec: Codec,
        envelopes: Sequence[Envelope],
    ) -> None:
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._codec = codec
        rng = random.Random(SEED)
        self._wait_s = {envelope.id: rng.uniform(0, WAIT_S_MAX) for envelope in envelopes}

    def run(self) -> Took:
        return asyncio.run(self._run())

    async def _run(self) -> Took:
        app = App(f"lanes-{uuid4().hex}", topics=(TASKS,), running_max=RUNNING_MAX)
        stop = asyncio.Event()
        took_s: dict[str | None, float] = defaultdict(float)
        left, first_s = len(self._wait_s), 0.0

        @app.on()
        async def on_any(ctx: Context, _payload: Mapping[str, Any]) -> None:
            nonlocal left, first_s
            began_s = time.perf_counter()
            first_s = first_s or began_s
            await asyncio.sleep(self._wait_s[ctx.envelope.id])
            left -= 1
            if not left:
                stop.set()
            took_s[ctx.envelope.correlation_id] += time.perf_counter() - began_s

        worker = TimedWorker(app, self._servers, self._namespace, self._codec)
        await run_worker(worker, stop)
        return Took(worker.committed_at_s - first_s, max(took_s.values()))
