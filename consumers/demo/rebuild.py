"""Step five of the demo: everything once more, from the log alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.progress import Progress, TaskID

from consumers.audit import GroupAudit
from consumers.demo import proof
from consumers.projections import AgentState, Metrics, Projection
from consumers.proving import Proof
from consumers.references import load_reference
from consumers.replay import Replayed, replay
from consumers.state_store import LiveState
from streams.kafka.groups import GroupAdmin
from streams.kafka.reader import KafkaLogReader
from streams.schemas import Codec
from streams.topics import Namespace

LIVE: Final[tuple[type[Projection[Any]], ...]] = (AgentState, Metrics)
"""What independent groups keep live and replay rebuilds."""
HISTORY_FOLD: Final = "examples.change_history:projection"


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came out of the log."""

    state: Proof
    metrics: Proof
    history: Replayed[Any]
    oracle_differences: list[str]
    """Where the history's projection is not its oracle, by path; empty if it is."""
    audited: GroupAudit

    @property
    def records(self) -> int:
        """Records read by the three replays."""
        return self.state.records + self.metrics.records + self.history.records

    @property
    def per_s(self) -> float:
        """Records per second of the three replays."""
        replays = (self.state.replayed, self.metrics.replayed, self.history)
        return self.records / sum(one.seconds for one in replays if one is not None)

    @property
    def faults(self) -> list[str]:
        """What the proofs of state and metrics found, in words."""
        return [str(fault) for proof in (self.state, self.metrics) for fault in proof.faults]


class Rebuild:
    """Replays and audits one namespace, with a progress bar each."""

    def __init__(
        self,
        reader: KafkaLogReader,
        groups: GroupAdmin,
        namespace: Namespace,
        codec: Codec,
        progress: Progress,
    ) -> None:
        self._reader = reader
        self._groups = groups
        self._namespace = namespace
        self._codec = codec
        self._progress = progress

    def run(self, lives: Sequence[LiveState[Any]], oracle: Path, seed: int) -> Rebuilt:
        """State and metrics at the live ones' cuts, the history as it is, the fleet's books."""
        bars: dict[str, TaskID] = {}

        def proving(name: str, done: int, total: int) -> None:
            if name not in bars:
                bars[name] = self._progress.add_task(f"proving {name}", total=total)
            self._progress.update(bars[name], completed=done, total=total)

        state, metrics = proof.prove_live(
            self._reader,
            self._codec,
            self._namespace,
            dict(zip(LIVE, lives, strict=True)),
            seed,
            proving,
        )
        history_fold: Projection[Any] = load_reference(HISTORY_FOLD)
        history = self._replayed(history_fold)
        differences = proof.differences(
            msgspec.json.decode(oracle.read_bytes()), dict(history_fold.view(history.state))
        )
        bar = self._progress.add_task("auditing the fleet", total=1)
        audited = proof.audit_fleet(self._reader, self._codec, self._namespace, self._groups)
        self._progress.update(bar, completed=1)
        return Rebuilt(state, metrics, history, differences, audited)

    def _replayed(self, projection: Projection[Any]) -> Replayed[Any]:
        bar = self._progress.add_task(f"replaying {projection.name}", total=None)
        return replay(
            projection,
            reader=self._reader,
            namespace=self._namespace,
            codec=self._codec,
            on_progress=lambda done, total: self._progress.update(bar, completed=done, total=total),
        )
