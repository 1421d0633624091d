"""Thousands of seeds: always the same ones, and some that are new in every run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Final

import pytest

from tests.simulation.block import make_pool, run_in
from tests.simulation.checkers import CHECKERS, NOTICED
from tests.simulation.run import run_seed

FIXED: Final = 2_000
BLOCK: Final = 250
NEW: Final = 250
TWICE: Final = (0, 3, 17, 244, 1_021)
"""Seeds with crashes, zombies, retries, two groups, and at least once."""

FOUND: Final = (244, 1_385, 12_011, 5_000_690, 446_289_152)
"""Seeds that found something once: handlers of lost partitions that nobody interrupted; a record
that was blamed for what another one did; partitions that were given away and back while their
positions were awaited; a window that remembered for longer what the client handed over again; a
commit that there was none of, asked for again and again."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    with make_pool(min(os.cpu_count() or 1, 8)) as made:
        yield made


@pytest.fixture(scope="module")
def seen() -> set[str]:
    """What happened in the first block of seeds, if it has run."""
    return set()


def run_all(pool: Executor, first: int, count: int) -> tuple[str, set[str]]:
    """Every failed seed, with the command that replays it; and what happened in all of them."""
    reports = list(run_in(pool, first, count))
    found = [text for report in reports for text in report.failures]
    return "\n".join(found), {what for report in reports for what in report.seen}


@pytest.mark.parametrize("first", range(0, FIXED, BLOCK))
def test_nothing_is_found_in_the_seeds_of_every_run(
    pool: Executor, seen: set[str], first: int
) -> None:
    """Crashes, zombies, rebalances, slow and poisoned handlers, faults of every kind of call."""
    found, happened = run_all(pool, first, BLOCK)
    if first == 0:
        seen |= happened
    assert not found, found


def test_nothing_is_found_in_seeds_of_this_run_alone(pool: Executor) -> None:
    """Seeds that nobody has run before; the message has the command that replays one."""
    first = time.time_ns() % 10**9
    found, _ = run_all(pool, first, NEW)
    assert not found, f"seeds from {first} on:\n{found}"


@pytest.mark.parametrize("seed", FOUND)
def test_what_a_seed_found_once_it_finds_no_more(seed: int) -> None:
    """As long as schedules are made as they were then."""
    result = run_seed(seed)
    assert not result.findings, str(result)


@pytest.mark.parametrize("seed", TWICE)
def test_a_seed_is_the_same_run_each_time(seed: int) -> None:
    """Every step, at its virtual time, and every byte on the log."""
    first, second = run_seed(seed), run_seed(seed)
    assert first.trace.texts() == second.trace.texts()
    assert first.digest() == second.digest()


def test_a_failed_seed_can_be_replayed_in_another_process() -> None:
    """Nothing hangs on the order of sets: other hash seeds, the same digest and a trace to read."""
    digests = set()
    for hash_seed in ("1", "2"):
        told = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "17", "-v"],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        ).stdout
        assert "seed 17: clean" in told
        assert re.search(r"^ +\d+\.\d{4}  commit +sim\.", told, re.MULTILINE)
        digests.add(re.findall(r"^digest (\w{64})$", told, re.MULTILINE)[0])
    assert digests == {run_seed(17).digest()}


def test_the_schedules_are_rough(pool: Executor, seen: set[str]) -> None:
    """What is to be shown does happen: each kind of trouble, in a few hundred seeds."""
    if not seen:  # this test was chosen alone
        _, seen = run_all(pool, 0, BLOCK)
    wanted = {
        "abort",
        "calm",
        "commit_failed",
        "crash",
        "die_at",
        "hang_at",
        "move_at",
        "raise_at",
        "stop_at",
        "dead_lettered Failed",
        "dead_lettered HandlerTimedOut",
        "dead_lettered NonRetriable",
        "dead_lettered crashed",
        "dead_lettered undecodable",
        "dead_lettered unknown_schema",
        "expired time_to_live",
        "handled ",
        "skipped cancelled",
        "skipped duplicate",
        "skipped import",
        "skipped no_handler",
        "skipped replay",
        "log transaction_aborted",
        "log transaction_unknown",
        "log no_committed_positions_yet",
    }
    assert wanted <= seen, wanted - seen


def test_the_checkers_are_these() -> None:
    """By the names that the documents and the mutations use."""
    assert [*CHECKERS, *NOTICED] == [
        "no_loss",
        "no_duplicate_effect",
        "key_order",
        "tiling",
        "dead_letters",
        "all_released",
        "no_progress",
    ]
