"""One worker process without its supervisor."""

from __future__ import annotations

import os
import subprocess
import sys

from streams.kafka.admin import TopicAdmin
from streams.topics import Namespace


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
