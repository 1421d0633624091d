"""Blocks of seeds, on several processes."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from tests.simulation.run import Result, replay_command, run_seed

CHUNK: Final = 25
"""Seeds that a process is given at once."""
SEED_S_MAX: Final = 60.0
"""Seconds of real time that one may take: most take hundredths. What never gives way to its event
loop stands still without a turn that could be counted."""


class Report(msgspec.Struct, frozen=True):
    """What came of a few seeds."""

    seeds: int
    failures: tuple[str, ...]
    """In words, each with the command that replays it."""
    seen: frozenset[str] = frozenset()
    """What happened in them: kinds of trouble, and of endings."""


def run_chunk(first: int, count: int) -> Report:
    """Run these seeds, one after the other."""
    failures, seen = [], set[str]()
    for seed in range(first, first + count):
        try:
            with _at_most(SEED_S_MAX):
                result = run_seed(seed)
        except Exception:  # noqa: BLE001 - a seed that breaks the simulation is a failure as well
            failures.append(f"seed {seed}: {traceback.format_exc()}\n{replay_command(seed)}")
            continue
        seen |= _seen(result)
        if result.findings:
            failures.append(str(result))
    return Report(count, tuple(failures), frozenset(seen))


@contextmanager
def _at_most(real_s: float) -> Iterator[None]:
    """Raise `TimeoutError` wherever it is after so long, and again; for a main thread."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"{real_s:g} s of real time, and it has not ended")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, real_s, real_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _seen(result: Result) -> set[str]:
    lines = result.trace.lines
    seen = {what for _, what, _ in lines}
    seen |= {f"log {about[0]}" for _, what, about in lines if what == "log"}
    for one in result.history.inputs if result.history is not None else ():
        seen |= {f"{ended.outcome} {ended.reason}" for ended in one.endings}
    return seen


def make_pool(jobs: int) -> ProcessPoolExecutor:
    """Processes to run seeds in; they begin afresh, whatever threads there are here."""
    return ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))


def run_in(pool: Executor, first: int, count: int) -> Iterator[Report]:
    """Run these seeds there; reports come as they are ready."""
    chunks = [
        pool.submit(run_chunk, at, min(CHUNK, first + count - at))
        for at in range(first, first + count, CHUNK)
    ]
    try:
        for chunk in as_completed(chunks):
            yield chunk.result()
    finally:
        for chunk in chunks:
            chunk.cancel()


def run_block(first: int, count: int, jobs: int) -> Iterator[Report]:
    """Run these seeds on that many processes."""
    with make_pool(jobs) as pool:
        yield from run_in(pool, first, count)
