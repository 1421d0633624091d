"""Workers that join a group and leave it again, second after second, in one process.

What a storm needs is membership that never settles; processes of their own would spend these two
cores on starting Python.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

import structlog

from consumers.worker import Worker
from streams.session import read_settings, session_on
from tests.faults.pipeline import pipeline


async def churn(seconds: float, every_s: float, life_s: float) -> int:
    """Let a member join every `every_s`, each for `life_s`; returns how many there were."""
    settings = read_settings()
    assert settings.bootstrap_servers is not None
    session = session_on(settings.bootstrap_servers, settings)

    async def member() -> None:
        stop = asyncio.Event()
        worker = Worker(pipeline, session.bootstrap_servers, session.namespace, session.codec)
        asyncio.get_running_loop().call_later(life_s, stop.set)
        await worker.run(stop)

    count = int(seconds / every_s)
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(member())
            await asyncio.sleep(every_s)
    return count


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
    joined = asyncio.run(churn(given.seconds, given.every, given.life))
    sys.stdout.write(f"{joined} workers joined and left, one every {given.every:g} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
