"""Workers that join a group and leave it again, second after second, in one process.

What a storm needs is membership that never settles; processes of their own would spend these two
cores on starting Python.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time

import msgspec
import structlog

from consumers.worker import Worker
from streams.session import read_settings, session_on
from tests.faults.pipeline import pipeline


class Storm(msgspec.Struct, frozen=True):
    """What became of it."""

    joined: int
    """Workers that joined, and were told to leave."""
    failures: list[str]
    """What those said that did not leave as they were told."""


async def churn(seconds: float, every_s: float, life_s: float) -> Storm:
    """Let a member join every `every_s`, each for `life_s`."""
    settings = read_settings()
    assert settings.bootstrap_servers is not None
    session = session_on(settings.bootstrap_servers, settings)

    failures = []

    async def member() -> None:
        stop = asyncio.Event()
        worker = Worker(pipeline, session.bootstrap_servers, session.namespace, session.codec)
        asyncio.get_running_loop().call_later(life_s, stop.set)
        began = time.monotonic()
        try:
            await worker.run(stop)
        except Exception as error:  # noqa: BLE001 - the others go on; the suite is told
            took_s = time.monotonic() - began
            failures.append(f"worker {worker.run_id} ended after {took_s:.0f} s: {error}")

    count = int(seconds / every_s)
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(member())
            await asyncio.sleep(every_s)
    return Storm(count, failures)


def main() -> int:
    """Run a storm, and say how large it was."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--for", type=float, required=True, dest="seconds")
    parser.add_argument("--every", type=float, required=True)
    parser.add_argument("--life", type=float, required=True)
    given = parser.parse_args()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    storm = asyncio.run(churn(given.seconds, given.every, given.life))
    sys.stdout.write(msgspec.json.encode(storm).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
