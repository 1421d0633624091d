"""`python -m tests.simulation`: many seeds, or one of them again.

    python -m tests.simulation --seeds 20000          from a seed drawn now, on all cores
    python -m tests.simulation --seed 4711 -v         one seed, with all that happens in it

Exit code 0 if no checker found anything, else 1; every seed that failed is printed with the command
that replays it.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from tests.simulation.block import run_block
from tests.simulation.run import Result, run_seed
from tests.simulation.schedule import Schedule

FAILURES_MAX: int = 20
"""Failed seeds after which it ends."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line says."""
    asked = _parser().parse_args(arguments)
    if asked.seed is not None:
        result = run_seed(asked.seed)
        if asked.verbose:
            _tell(result)
        _say(str(result))
        _say(f"digest {result.digest()}")
        return 1 if result.findings else 0
    first = asked.first if asked.first is not None else time.time_ns() % 10**9
    return _many(first, asked.seeds, asked.jobs)


def _many(first: int, count: int, jobs: int) -> int:
    _say(f"{count} seeds from {first} on, {jobs} at a time")
    began = time.monotonic()
    failed = done = 0
    for report in run_block(first, count, jobs):
        done += report.seeds
        for text in report.failures:
            failed += 1
            _say(text)
        if failed >= FAILURES_MAX:
            break
    _say(f"{done} seeds, {failed} failed, {time.monotonic() - began:.0f} s")
    return 1 if failed else 0


def _tell(result: Result) -> None:
    schedule: Schedule = result.schedule
    _say(f"{schedule.bounds}\n{schedule.odds}\n{schedule.tempo}")
    _say(
        f"{schedule.partitions} partitions, {schedule.workers} workers in each of "
        f"{2 if schedule.two_groups else 1} groups"
    )
    for line in result.trace.texts():
        _say(line)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("-v", "--verbose", action="store_true", help="with its whole trace")
    parser.add_argument("--seeds", type=int, default=2_000, help="how many (default 2000)")
    parser.add_argument("--first", type=int, help="the first of them (default: by the time)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
