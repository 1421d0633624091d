"""frameworks: the worker against FastStream and Quix Streams, on the same records.

All decode the same framed Avro, envelope and payload whole, call a handler for each record in the
order of its partition, and commit. The peers run in an environment of their own, started anew for
each run; everybody is timed from the first record in a handler until the group was left.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec

from benchmarks.figures import Results, at_least, ratio
from benchmarks.fill import fill
from benchmarks.history import history
from benchmarks.peers.job import Done, Job
from benchmarks.plain import save_schemas
from benchmarks.rounds import Contender, alternate
from benchmarks.stage import Stage, open_codec
from benchmarks.workers import WORKER_TOPICS, Handling
from streams.errors import ConfigurationError
from streams.topics import EVENTS, TASKS, Namespace

BAR_FASTSTREAM: Final = 10.0
BAR_QUIX: Final = 1.0
PEER_S_MAX: Final = 300

FASTSTREAM: Final = "faststream_aiokafka"
FASTSTREAM_CONFLUENT: Final = "faststream_confluent"
QUIX: Final = "quix"

_ROOT: Final = Path(__file__).parent.parent
_PYTHON: Final = _ROOT / ".venv-peers" / "bin" / "python"


def require_peers() -> None:
    """Raise `ConfigurationError` if the peers' environment is not there."""
    if not _PYTHON.exists():
        raise ConfigurationError(
            "the bench `frameworks` compares with FastStream and Quix Streams, which are not "
            "installed: run `make peers` once, or name the other benches"
        )


def bench(stage: Stage) -> Results:
    """Handlers that do nothing, and handlers that publish one envelope each."""
    require_peers()
    codec, records = open_codec(), stage.size(60_000, 2_000)
    with (
        tempfile.TemporaryDirectory(prefix="agentlog-bench-") as folder,
        stage.namespaces(WORKER_TOPICS) as [namespace],
    ):
        save_schemas(codec.catalogue, Path(folder, "schemas.json"))
        fill(stage.bootstrap_servers, namespace.topic(TASKS), codec, history(records), records)
        worker = Handling(stage.bootstrap_servers, namespace, codec, records)
        peers = _Peers(stage.bootstrap_servers, namespace, records, Path(folder))
        measured = alternate(
            stage,
            [
                Contender("worker, exactly once", lambda: worker.run(output=False)),
                Contender("FastStream, aiokafka", peers.of(FASTSTREAM)),
                Contender(
                    "FastStream, aiokafka, as it comes",
                    peers.of(FASTSTREAM, as_it_comes=True),
                ),
                Contender("FastStream, confluent", peers.of(FASTSTREAM_CONFLUENT)),
                Contender("FastStream, aiokafka, batch=True", peers.of(FASTSTREAM, batch=True)),
                Contender(
                    "worker, at least once",
                    lambda: worker.run(output=False, delivery="at_least_once"),
                ),
                Contender("Quix Streams, at least once", peers.of(QUIX)),
                Contender("worker, exactly once, one output", lambda: worker.run(output=True)),
                Contender("Quix Streams, exactly once, one output", peers.of(QUIX, output=True)),
            ],
            stage.size(3, 1),
        )
    ours, aiokafka, as_it_comes, confluent, batched, at_least_once, quix, talking, quix_talking = (
        measured
    )
    versions = ", ".join(f"{name} {found}" for name, found in sorted(peers.versions.items()))
    return Results(
        bench="frameworks",
        workload=f"{records:,} envelopes of the history on 8 partitions, one process, one "
        f"consumer, Avro decoded whole. The peers: {versions}.",
        measured=measured,
        figures=[
            ratio(
                "worker (exactly once) over FastStream on aiokafka (at most once)",
                ours,
                aiokafka,
                bar=at_least(BAR_FASTSTREAM),
            ),
            ratio(
                "worker (exactly once) over FastStream as it comes (injects, logs)",
                ours,
                as_it_comes,
            ),
            ratio("worker (exactly once) over FastStream on confluent", ours, confluent),
            ratio("worker (exactly once) over FastStream that hands over batches", ours, batched),
            ratio(
                "worker over Quix Streams, both at least once",
                at_least_once,
                quix,
                bar=at_least(BAR_QUIX),
            ),
            ratio(
                "worker over Quix Streams, both exactly once with one output each",
                talking,
                quix_talking,
                bar=at_least(BAR_QUIX),
            ),
        ],
    )


class _Peers:
    """Runs the peers; each run is a new process and a new group."""

    def __init__(
        self, bootstrap_servers: str, namespace: Namespace, records: int, folder: Path
    ) -> None:
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._records = records
        self._folder = folder
        self.versions: dict[str, str] = {}
        """Of the peers that have run, and of what they are made of."""

    def of(
        self, program: str, *, output: bool = False, batch: bool = False, as_it_comes: bool = False
    ) -> Callable[[], float]:
        """A run of this program: its records per second."""

        def run() -> float:
            done = self._run(
                program, self._job(output=output, batch=batch, as_it_comes=as_it_comes)
            )
            self.versions |= done.versions
            if done.records < self._records:
                raise AssertionError(f"{program} handled {done.records} of {self._records}")
            return done.records / done.seconds

        return run

    def _job(self, *, output: bool, batch: bool, as_it_comes: bool) -> Job:
        return Job(
            bootstrap_servers=self._servers,
            topic=self._namespace.topic(TASKS),
            group=self._namespace.group(uuid4().hex),
            records=self._records,
            schemas=str(self._folder / "schemas.json"),
            output_topic=self._namespace.topic(EVENTS) if output else None,
            batch=batch,
            as_it_comes=as_it_comes,
            state_dir=str(self._folder / "state"),
        )

    def _run(self, program: str, job: Job) -> Done:
        done = subprocess.run(
            [str(_PYTHON), "-m", f"benchmarks.peers.{program}"],
            input=msgspec.json.encode(job),
            capture_output=True,
            cwd=_ROOT,
            timeout=PEER_S_MAX,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} exited with {done.returncode}:\n{done.stderr.decode()}")
        return msgspec.json.decode(done.stdout.splitlines()[-1], type=Done)
