"""One worker process without its supervisor, and a supervisor without workers."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

from consumers.worker.processes import ProcessEvent, Supervisor
from streams.kafka.admin import TopicAdmin
from streams.topics import Namespace
from tests.consumers.worker.harness import until


def test_a_worker_whose_supervisor_died_before_it_had_begun_ends(
    kafka: str, namespace: str
) -> None:
    """SIGKILL of the supervisor while its workers load their apps leaves none behind."""
    TopicAdmin(kafka).provision(Namespace(namespace))
    supervisor = subprocess.Popen([sys.executable, "-c", ""])
    supervisor.wait()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "consumers.worker.process"),
            *("--app", "tests.consumers.worker.apps:pipeline"),
            *("--parent", str(supervisor.pid)),
        ],
        env={**os.environ, "AGENTLOG_BOOTSTRAP_SERVERS": kafka, "AGENTLOG_NAMESPACE": namespace},
        timeout=60,
        check=False,
    )
    assert done.returncode == 0


async def test_a_worker_that_does_not_drain_is_killed_and_the_exit_code_says_1(
    tmp_path: Path,
) -> None:
    """Not 9, which would be the signal's number and means nothing in the CLI's contract."""
    deaf = tmp_path / "deaf"
    code = (
        "import pathlib, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"pathlib.Path({str(deaf)!r}).touch(); signal.pause()"
    )
    events: list[ProcessEvent] = []
    supervisor = Supervisor(
        1,
        lambda _run_id, _fd: [sys.executable, "-c", code],
        tell=events.append,
        settle=lambda _run_id: None,
        stop_s_max=0.2,
    )
    stop = asyncio.Event()
    running = asyncio.create_task(supervisor.run(stop))
    await until(deaf.exists, "it ignores SIGTERM")
    stop.set()
    async with asyncio.timeout(30):
        assert await running == 1
    assert [(event.event, event.exit_code) for event in events] == [
        ("started", None),
        ("ended", -9),
    ]
