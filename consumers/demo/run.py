"""The director: publishes, starts, kills, waits, rebuilds and compares, in that order.

1. A Kafka (embedded unless one is named) and a fresh namespace on it.
2. Workers and live projections start in processes of their own; the history is published.
3. Agent pods publish live; the workers share the work; one worker gets SIGKILL in the middle.
4. When every record has been handled, the workers drain and the projections catch up.
5. From the log alone: outputs are counted, state and metrics are rebuilt at the live ones' cut,
   the history's projection is compared with its oracle; an agent is shown as it was at the kill,
   and what became of its record.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.progress import Progress

import streams
from consumers.demo import ledger, pods, proof
from consumers.demo.figures import Work, delivery_ms, recovered_s, shares
from consumers.demo.history import HistoryImport, Imported
from consumers.demo.idle import FleetIdle
from consumers.demo.rebuild import LIVE, Rebuild
from consumers.demo.report import Report
from consumers.demo.stage import Stage
from consumers.demo.travel import Story, Travel
from consumers.journal import Outcome
from consumers.live import is_caught_up
from consumers.projections import Metrics, Projection
from consumers.state_store import LiveState, SqlStateStore, live_snapshot
from streams.brokers import open_broker
from streams.cuts import Cut
from streams.errors import AgentlogError, ConfigurationError
from streams.kafka.admin import TopicAdmin
from streams.kafka.groups import GroupAdmin
from streams.kafka.reader import KafkaLogReader
from streams.schemas import Catalogue, Codec
from streams.settings import Settings
from streams.topics import Namespace

CHECKOUT: Final = Path(streams.__file__).parent.parent
HISTORY: Final = CHECKOUT / "tests" / "data" / "history-small.jsonl.gz"
KILL_AT: Final = 0.4
"""Share of the expected handler runs after which a worker is killed."""
WAIT_S_MAX: Final = 120.0
"""Longest that anything may take before the demo gives up."""
POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What the demo is to do."""

    history: Path = HISTORY
    workers: int = 3
    pods: int = 3
    agents: int = 12
    jobs: int = 300
    """Per pod."""
    seed: int = 1
    keep: bool = False
    """Use the embedded Kafka that keeps its data, and leave the namespace on it."""

    @property
    def oracle(self) -> Path:
        """What the history's projection must be, computed without Kafka."""
        name = self.history.name.removesuffix(".gz").removesuffix(".jsonl")
        return self.history.with_name(f"{name}.oracle.json")


def run(plan: Plan, settings: Settings, progress: Progress) -> Report:
    """The whole demo. Raises `AgentlogError` if it cannot be carried out; failed proofs are in
    the report.
    """
    began = time.monotonic()
    for path in (plan.history, plan.oracle):
        if not path.exists():
            raise ConfigurationError(f"{path} is missing; run the demo in a checkout of agentlog")
    namespace = Namespace(f"demo-{random.SystemRandom().randrange(16**6):06x}")
    bar = progress.add_task("starting Kafka", total=None)

    def downloading(done: int, total: int) -> None:
        progress.update(bar, description="downloading Kafka", completed=done, total=total)

    with open_broker(settings, temporary=not plan.keep, progress=downloading) as broker:
        progress.update(bar, description="starting Kafka", completed=1, total=1)
        admin = TopicAdmin(broker.bootstrap_servers)
        try:
            admin.provision(namespace)
            with tempfile.TemporaryDirectory(prefix="agentlog-demo-") as folder:
                return _Director(
                    plan, broker.bootstrap_servers, namespace, Path(folder), progress, began
                ).direct()
        finally:
            if not plan.keep and settings.bootstrap_servers is not None:
                admin.delete(namespace.topics())


class _Director:
    """One run on one namespace."""

    def __init__(
        self,
        plan: Plan,
        servers: str,
        namespace: Namespace,
        folder: Path,
        progress: Progress,
        began: float,
    ) -> None:
        self.plan = plan
        self.servers = servers
        self.namespace = namespace
        self.progress = progress
        self.began = began
        self.codec = Codec(Catalogue.load())
        self.ledger = folder / "ledger"
        self.store_url = f"sqlite:///{folder / 'projections.sqlite'}"
        self.stage = Stage(
            folder,
            {
                "AGENTLOG_BOOTSTRAP_SERVERS": servers,
                "AGENTLOG_NAMESPACE": namespace.name,
                "AGENTLOG_STORE": self.store_url,
                ledger.LEDGER_VARIABLE: str(self.ledger),
            },
        )

    def direct(self) -> Report:
        """Steps 2 to 5."""
        with self.stage, KafkaLogReader(self.servers) as reader:
            projections = [
                self.stage.start(f"projection-{name}", "consumers.cli", "projections", "run", name)
                for name in ("state", "metrics")
            ]
            workers = self.stage.start(
                "workers",
                "consumers.cli",
                "worker",
                "--app",
                "consumers.demo.fleet:app",
                "--processes",
                str(self.plan.workers),
            )
            publishing = HistoryImport(self.servers, self.namespace, self.codec, self.progress)
            imported = asyncio.run(publishing.run(self.plan.history))
            work = self._fleet(reader)
            self.stage.stop(workers)
            cut = reader.ends(self.namespace.topics(Metrics().topics))
            lives = [self._caught_up(fold(), cut) for fold in LIVE]
            self.stage.stop(*projections)
            return self._report(imported, work, lives, reader)

    # --- step 3 ------------------------------------------------------------------------------

    def _fleet(self, reader: KafkaLogReader) -> Work:
        plan = self.plan
        expected = sum(
            pods.expected_runs(plan.seed, pod, plan.agents, plan.jobs) for pod in range(plan.pods)
        )
        bar = self.progress.add_task("the fleet works", total=expected)
        actors = [
            self.stage.start(
                f"pod-{pod}",
                "consumers.demo.pods",
                "--pod",
                str(pod),
                "--agents",
                str(plan.agents),
                "--jobs",
                str(plan.jobs),
                "--seed",
                str(plan.seed),
            )
            for pod in range(plan.pods)
        ]
        began = time.monotonic()

        def until(condition: Callable[[], bool], what: str) -> None:
            self._until(
                condition,
                what,
                lambda: self.progress.update(bar, completed=ledger.count(self.ledger)),
            )

        until(lambda: ledger.count(self.ledger) >= KILL_AT * expected, "the fleet to get to work")
        killed, killed_ms = self._kill()
        self.progress.update(bar, description=f"the fleet works on without pid {killed}")
        until(lambda: all(actor.process.poll() == 0 for actor in actors), "the pods to finish")
        idle = FleetIdle(self.servers, self.namespace, reader)
        until(idle.reached, "the workers to handle everything")
        idle.close()
        seconds = time.monotonic() - began
        self.progress.update(bar, description="the fleet is done", completed=expected)
        return Work(killed, killed_ms, seconds, expected)

    def _kill(self) -> tuple[int, int]:
        """SIGKILL for the worker that did the most so far: its pid, and when (epoch ms)."""
        shares: dict[int, int] = {}
        for entry in ledger.read(self.ledger):
            shares[entry.pid] = shares.get(entry.pid, 0) + 1
        victim = max(shares, key=lambda pid: shares[pid])
        os.kill(victim, signal.SIGKILL)
        return victim, time.time_ns() // 1_000_000

    # --- step 4 ------------------------------------------------------------------------------

    def _caught_up(self, projection: Projection[Any], cut: Cut) -> LiveState[Any]:
        """The live state as soon as it holds everything below the cut."""
        topics = self.namespace.topics(projection.topics)
        bar = self.progress.add_task(f"live {projection.name} catches up", total=1)
        store = SqlStateStore(self.store_url)
        try:
            self._until(
                lambda: is_caught_up(store, projection, cut.of(topics)),
                f"projection {projection.name} to catch up",
            )
            self.progress.update(bar, completed=1)
            return live_snapshot(store, projection, topics)
        finally:
            store.close()

    def _until(
        self, condition: Callable[[], bool], what: str, tick: Callable[[], None] = lambda: None
    ) -> None:
        deadline = time.monotonic() + WAIT_S_MAX
        while not condition():
            tick()
            self.stage.check()
            if time.monotonic() > deadline:
                raise AgentlogError(f"waited {WAIT_S_MAX:.0f} s for {what}; giving up")
            time.sleep(POLL_S)

    # --- step 5 ------------------------------------------------------------------------------

    def _report(
        self,
        imported: Imported,
        work: Work,
        lives: list[LiveState[Any]],
        reader: KafkaLogReader,
    ) -> Report:
        groups = GroupAdmin(self.servers, self.namespace)
        rebuild = Rebuild(reader, groups, self.namespace, self.codec, self.progress)
        rebuilt = rebuild.run(lives, self.plan.oracle, self.plan.seed)
        audited = rebuilt.audited
        untiled = proof.tiling_faults(audited)
        live = lives[1].state["sent"] - imported.published
        runs = list(ledger.read(self.ledger))
        story = self._story(reader, runs, work)
        return Report(
            namespace=self.namespace.name,
            history=self.plan.history.name,
            imported=imported.published,
            live=live,
            published=imported.published + live,
            first_envelope_s=round(imported.first_envelope_at - self.began, 3),
            publish_per_s=round(imported.published / imported.seconds, 1),
            throughput_per_s=round(work.expected / work.seconds, 1),
            delivery_ms=delivery_ms(lives[1].state["delivery_buckets"]),
            work=shares(runs, work),
            killed_pid=work.killed,
            recovered_s=recovered_s(runs, work),
            lost=audited.lost,
            duplicated=audited.duplicated,
            reordered=audited.reordered,
            unhandled=work.expected - audited.outcomes.get(Outcome.HANDLED, 0),
            untiled=len(untiled),
            redelivered=ledger.redelivered(runs),
            faults=[*untiled, *(f"{one.record}: {one.detail}" for one in audited.findings)],
            state_digest_live=rebuilt.state.live_digest or "",
            state_digest_replayed=rebuilt.state.digest,
            metrics_digest_live=rebuilt.metrics.live_digest or "",
            metrics_digest_replayed=rebuilt.metrics.digest,
            fold_faults=rebuilt.faults,
            oracle_equal=not rebuilt.oracle_differences,
            oracle_differences=rebuilt.oracle_differences,
            rebuilt=rebuilt.records,
            rebuild_per_s=round(rebuilt.per_s, 1),
            story=story,
            total_s=round(time.monotonic() - self.began, 1),
        )

    def _story(self, reader: KafkaLogReader, runs: list[ledger.Run], work: Work) -> Story | None:
        bar = self.progress.add_task("indexing the log", total=1)
        travel = Travel(reader, self.namespace, self.codec, self.store_url)
        found = travel.tell(runs, work)
        self.progress.update(bar, completed=1)
        return found
