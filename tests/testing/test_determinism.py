"""The same seed is the same log, in every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DIGEST = """
import asyncio, hashlib, logging, random, structlog
from consumers.testing import MemoryStage, run
from tests.testing.test_stage import pipeline, something_happens, task

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

async def main():
    rng = random.Random(5)
    digest = hashlib.sha256()
    async with MemoryStage(pipeline(), seed=5) as stage:
        for worker in range(2):
            stage.start_worker()
        for n in range(0, 60, 6):
            await stage.publish_many(task(m, f"k{m % 7}") for m in range(n, n + 6))
            await stage.advance(rng.random() / 10)
            await something_happens(stage, rng)
        await stage.idle()
        for topic in ("tasks", "events", "journal", "schemas"):
            for one in stage.records(topic):
                digest.update(repr((str(one), one.appended_at_ms, one.key, one.value)).encode())
    return digest.hexdigest()

print(run(main()))
"""


def test_a_run_does_not_depend_on_how_python_hashes() -> None:
    """Two processes whose sets are ordered otherwise write the same bytes at the same times."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", DIGEST],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(digests) == 1
    assert digests != {""}
