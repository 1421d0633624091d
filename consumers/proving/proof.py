"""The proof of one subject: what ran live, and the log folded three times, come to one state.

    live            the rows of the state store, partition by partition, at their own positions
    replayed        as `agentlog replay` does it
    again           partitions in another order, side by side, in other batches, stored and gone on
                    with in between; the parts merged in several orders
    elsewhere       the same by other chances in another process, under another hash seed

Aggregates have no rows: what their states were is on the log, with each command's last event.

Where two of them differ, the first partition that shows it is folded again by two ways, to find the
record after which they part.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from consumers.folds import OnProgress
from consumers.projections import Projection
from consumers.proving.causes import Causes
from consumers.proving.elsewhere import Elsewhere
from consumers.proving.faults import Fault
from consumers.proving.folding import Part, fold_partitions
from consumers.proving.live_rows import live_differs, live_faults
from consumers.proving.orders import merged_alike
from consumers.proving.subjects import ProjectionSubject, StreamsSubject, Subject
from consumers.replay import Replayed, replay
from consumers.state_store import LiveState
from streams.cuts import Cut
from streams.digest import digest
from streams.errors import AgentlogError, BrokerError, ConfigurationError, LogError
from streams.ports import LogReader
from streams.record import Partition
from streams.schemas import Codec
from streams.topics import EVENTS, Namespace

Parts = Mapping[Partition, Part]


def _ignore(passed: int, total: int) -> None:
    pass


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, and what came of it."""

    name: str
    kind: str
    """`projection`, `aggregates` or `read_model`."""
    cut: Cut
    digest: str
    """Of the replayed state; of all partitions' states, for aggregates."""
    live_digest: str | None = None
    """None where no live state was compared."""
    records: int
    undecodable: int = 0
    counts: Mapping[str, int] = {}
    """Of aggregates: events, and how many of them were compared with a digest on the log. Of read
    models: rows, by table."""
    faults: tuple[Fault, ...] = ()
    replayed: Replayed[Any] | None = None
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether everything came to one state."""
        return not self.faults


class Prover:
    """Proves subjects of one log. `seed` draws every order; the same seed draws the same."""

    def __init__(
        self,
        reader: LogReader,
        codec: Codec,
        namespace: Namespace,
        elsewhere: Elsewhere,
        seed: int,
        on_note: Callable[[str], None] = lambda note: None,  # noqa: ARG005
    ) -> None:
        self._reader = reader
        self._codec = codec
        self._namespace = namespace
        self._elsewhere = elsewhere
        self._seed = seed
        self._on_note = on_note
        self._causes = Causes(reader, codec, elsewhere)

    # --- projections -------------------------------------------------------------------------

    def projection(
        self,
        subject: ProjectionSubject,
        *,
        live: LiveState[Any] | None = None,
        cut: Cut | None = None,
        on_progress: OnProgress = _ignore,
    ) -> Proof:
        """Live = replayed at the live state's own cut, and replayed = replayed however it is done.

        `on_progress` is called with positions passed and positions in all, each counted twice.
        Without `live` the replays alone are compared, at `cut` (default: the log's end). Raises
        `LogError` if the history is not whole or the cut not of this log.
        """
        began, projection = time.monotonic(), subject.projection
        topics = self._namespace.topics(projection.topics)
        if live is not None:
            cut = live.cut
        elif cut is None:
            cut = self._reader.ends(topics)
        size = sum(cut.ends.values())
        first, second = (
            lambda passed, _: on_progress(passed, 2 * size),
            lambda passed, _: on_progress(size + passed, 2 * size),
        )
        replayed, faults = self._replayed(projection, cut, first)
        if replayed is not None:
            faults += self._compared(subject, replayed, live, second)
        return Proof(
            name=projection.name,
            kind="projection",
            cut=cut,
            digest=replayed.digest if replayed is not None else "",
            live_digest=digest(live.state) if live is not None else None,
            records=replayed.records if replayed is not None else 0,
            undecodable=replayed.tally.undecodable if replayed is not None else 0,
            faults=tuple(faults),
            replayed=replayed,
            seconds=time.monotonic() - began,
        )

    def _replayed(
        self, projection: Projection[Any], cut: Cut, on_progress: OnProgress
    ) -> tuple[Replayed[Any] | None, list[Fault]]:
        try:
            found = replay(
                projection,
                reader=self._reader,
                namespace=self._namespace,
                codec=self._codec,
                cut=cut,
                on_progress=on_progress,
            )
        except (BrokerError, ConfigurationError, LogError):
            raise
        except AgentlogError as error:  # the fold's own: nothing can be compared
            return None, [_failed(projection, error)]
        return found, []

    def _compared(
        self,
        subject: ProjectionSubject,
        replayed: Replayed[Any],
        live: LiveState[Any] | None,
        on_progress: OnProgress,
    ) -> list[Fault]:
        """Folds with each other, then merges, then all of it with what is stored."""
        here, there = self._folds(subject, replayed.cut, on_progress)
        faults = self._folded_alike(subject, here, there, replayed.cut)
        if not faults:
            faults = self._merged_alike(subject, here, replayed)
        if live is not None:
            faults += live_faults(subject.projection, live, here)
            if not faults and digest(live.state) != replayed.digest:
                where = "the merged state"
                faults = [live_differs(subject.projection, where, live.state, replayed.state)]
        return faults

    def _merged_alike(
        self, subject: ProjectionSubject, here: Parts, replayed: Replayed[Any]
    ) -> list[Fault]:
        parts = {source: part.stored for source, part in sorted(here.items())}
        try:
            return merged_alike(subject, parts, replayed, self._elsewhere, self._causes, self._seed)
        except BrokerError:
            raise
        except AgentlogError as error:  # a merge that fails in another order
            return [_failed(subject.projection, error)]

    # --- aggregates --------------------------------------------------------------------------

    def aggregates(
        self,
        name: str,
        subject: StreamsSubject,
        cut: Cut | None = None,
        on_progress: OnProgress = _ignore,
    ) -> Proof:
        """Every state digest on the log is what `evolve` gives; versions have no gap, epochs never
        decrease; and so in another order and in another process.

        Raises `LogError` if the history is not whole or the cut not of this log.
        """
        began, topic = time.monotonic(), self._namespace.topic(EVENTS)
        now = self._reader.ends([topic])
        cut = (now if cut is None else cut).of([topic])
        cut.require_same_log(now)
        for source, start in self._reader.starts([topic]).items():
            if start > 0 and cut.ends.get(source, 0) > 0:
                raise LogError(
                    f"{source} begins at {start}: what was below is gone, so nothing that "
                    "depends on it can be proven; its topic must keep everything (retention.ms=-1)"
                )
        here, there = self._folds(subject, cut, on_progress)
        faults = self._folded_alike(subject, here, there, cut)
        counts = dict.fromkeys(("events", "verified"), 0)
        for part in here.values():
            for what, n in part.counts.items():
                counts[what] += n
        return Proof(
            name=name,
            kind="aggregates",
            cut=cut,
            digest=digest({str(source): part.digest for source, part in here.items()}),
            records=sum(part.records for part in here.values()),
            counts=counts,
            faults=tuple(faults),
            seconds=time.monotonic() - began,
        )

    # --- both --------------------------------------------------------------------------------

    def _folds(self, subject: Subject, cut: Cut, on_progress: OnProgress) -> tuple[Parts, Parts]:
        """Here and elsewhere, at the same time."""
        ends = {source: end for source, end in cut if end > 0}
        there = self._elsewhere.fold_partitions(subject, ends, self._seed + 1)
        here = fold_partitions(
            subject,
            self._reader,
            self._codec,
            ends,
            self._seed,
            keep=isinstance(subject, ProjectionSubject),
            on_progress=on_progress,
        )
        return here, there()

    def _folded_alike(self, subject: Subject, here: Parts, there: Parts, cut: Cut) -> list[Fault]:
        """The first partition that is not the same by every fold, looked at; others counted."""
        odd = [
            source
            for source in sorted(here)
            if here[source].failed
            or there[source].failed
            or here[source].digest != there[source].digest
        ]
        if not odd:
            return []
        self._on_note(f"looking for the record after which folds of {odd[0]} differ")
        first = odd[0]
        fault = self._causes.of_difference(
            subject, first, here[first], there[first], cut.ends[first]
        )
        if len(odd) > 1:
            text = f"{fault.detail} (and {len(odd) - 1} more partitions are not as they must be)"
            fault = msgspec.structs.replace(fault, detail=text)
        return [fault]


def _failed(projection: Projection[Any], error: AgentlogError) -> Fault:
    return Fault(kind="fold_failed", where=f"projection {projection.name}", detail=str(error))
