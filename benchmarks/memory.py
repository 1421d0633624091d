"""memory: does a worker that cannot keep up stay as large as it is?

All records are on the log before the worker starts, so they arrive as quickly as it takes them, and
its handler is slower than that: its window swings between half full and full from beginning to end.
The resident set is the worker process's own.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.elsewhere import elsewhere
from benchmarks.figures import Figure, Results, at_most
from benchmarks.fill import fill
from benchmarks.history import history
from benchmarks.quiet import wait_for_quiet
from benchmarks.stage import Stage, open_codec
from benchmarks.workers import WORKER_TOPICS, run_worker
from consumers.app import App
from consumers.context import Context
from consumers.worker import Worker
from streams.errors import ConfigurationError
from streams.topics import TASKS, Namespace

BAR_GROWTH: Final = 1.05
WARM_UP: Final = 0.1
"""Share of the records after which the first half's maximum is looked for."""
WAIT_S: Final = 0.005
"""What a handler waits for."""
SAMPLE_S: Final = 0.25
TELL_EVERY: Final = 1_000
STALLED_S_MAX: Final = 60.0
"""How long nothing may be handled before the run is given up."""


class Sample(NamedTuple):
    """The worker at a moment."""

    handled: int
    rss_mib: float


def bench(stage: Stage) -> Results:
    """One run over all of it."""
    if not Path("/proc/self/statm").exists():
        raise ConfigurationError("the bench `memory` reads /proc (Linux); name the other benches")
    records = stage.size(2_000_000, 100_000)
    with stage.namespaces(WORKER_TOPICS) as [namespace]:
        stage.say(f"  filling {records:,} records")
        fill(
            stage.bootstrap_servers,
            namespace.topic(TASKS),
            open_codec(),
            history(5_758),
            records,
            fresh_ids=True,
        )
        others = None if stage.quick else wait_for_quiet()
        began_s = time.perf_counter()
        samples = _watch(stage, namespace, records)
        seconds = time.perf_counter() - began_s
    first = _most(samples, WARM_UP * records, records / 2)
    last = _most(samples, records / 2, records)
    return Results(
        bench="memory",
        workload=f"{records:,} records that were there before, in {seconds:.0f} s with the start; "
        f"each handled in {WAIT_S * 1000:.0f} ms; exactly once, deduplication as by default. "
        f"Resident set sampled every {SAMPLE_S:g} s.",
        figures=[
            Figure(
                meaning=f"highest RSS of the last half over that of the first half (after "
                f"{WARM_UP:.0%} of the records)",
                rounds=[last / first],
                bar=at_most(BAR_GROWTH),
            ),
            Figure(meaning="highest RSS of the first half", rounds=[first], unit="MiB"),
            Figure(meaning="highest RSS of the last half", rounds=[last], unit="MiB"),
        ],
        others=[] if others is None else [others],
    )


def _watch(stage: Stage, namespace: Namespace, records: int) -> list[Sample]:
    handled, samples = 0, []
    heard_s = time.monotonic()
    with elsewhere(_work, stage.bootstrap_servers, namespace.name, records) as worker:
        statm = Path(f"/proc/{worker.process.pid}/statm")
        while handled < records:
            time.sleep(SAMPLE_S)
            while handled < records and worker.pipe.poll():  # at its end it hangs up
                handled, heard_s = worker.pipe.recv(), time.monotonic()
            if time.monotonic() - heard_s > STALLED_S_MAX:
                raise RuntimeError(f"the worker stopped at {handled:,} of {records:,} records")
            samples.append(Sample(handled, _rss_mib(statm)))
    return samples


def _most(samples: Sequence[Sample], after: float, until: float) -> float:
    return max(one.rss_mib for one in samples if after <= one.handled <= until)


def _rss_mib(statm: Path) -> float:
    """Resident set size, as proc_pid_statm(5) has it."""
    pages = int(statm.read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


# --- the other process ---------------------------------------------------------------------------


def _work(pipe: Connection, bootstrap_servers: str, namespace: str, records: int) -> None:
    """Handle so many, and say how many it has been every now and then."""

    async def work() -> None:
        app, stop, handled = App("memory", topics=(TASKS,)), asyncio.Event(), 0

        @app.on()
        async def on_any(_ctx: Context, _payload: Mapping[str, Any]) -> None:
            nonlocal handled
            await asyncio.sleep(WAIT_S)
            handled += 1
            if handled % TELL_EVERY == 0 or handled == records:
                pipe.send(handled)
            if handled == records:
                stop.set()

        worker = Worker(app, bootstrap_servers, Namespace(namespace), open_codec())
        await run_worker(worker, stop)

    asyncio.run(work())
