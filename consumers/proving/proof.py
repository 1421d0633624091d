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

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import cbor2
import msgspec

from consumers.folds import OnProgress
from consumers.projections import Projection
from consumers.projections.partition_fold import Columnar
from consumers.proving.causes import Causes
from consumers.proving.elsewhere import Elsewhere
from consumers.proving.faults import Fault, compared
from consumers.proving.folding import Part, fold_partitions
from consumers.proving.interleaving import merge_orders
from consumers.proving.merging import advice, broken_law, merge_digests, merge_in
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

PARTITIONS_NAMED_MAX: Final = 5
"""Partitions whose live state is shown where it differs; the others are counted."""

Parts = Mapping[Partition, Part]


class Proof(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, and what came of it."""

    name: str
    kind: str
    """`projection` or `aggregates`."""
    cut: Cut
    digest: str
    """Of the replayed state; of all partitions' states, for aggregates."""
    live_digest: str | None = None
    """None where no live state was compared."""
    records: int
    undecodable: int = 0
    counts: Mapping[str, int] = {}
    """Events, and how many of them were compared with a digest on the log."""
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
        on_step: Callable[[str], None] = lambda step: None,  # noqa: ARG005
    ) -> None:
        self._reader = reader
        self._codec = codec
        self._namespace = namespace
        self._elsewhere = elsewhere
        self._seed = seed
        self._on_step = on_step
        self._causes = Causes(reader, codec, elsewhere)

    # --- projections -------------------------------------------------------------------------

    def projection(
        self,
        subject: ProjectionSubject,
        *,
        live: LiveState[Any] | None = None,
        cut: Cut | None = None,
        on_progress: OnProgress | None = None,
    ) -> Proof:
        """Live = replayed at the live state's own cut, and replayed = replayed however it is done.

        Without `live` the replays alone are compared, at `cut` (default: the log's end). Raises
        `LogError` if the history is not whole or the cut not of this log.
        """
        began, projection = time.monotonic(), subject.projection
        topics = self._namespace.topics(projection.topics)
        if live is not None:
            cut = live.cut
        elif cut is None:
            cut = self._reader.ends(topics)
        replayed, faults = self._replayed(projection, cut, on_progress)
        records = undecodable = 0
        if replayed is not None:
            records, undecodable = replayed.records, replayed.tally.undecodable
            here, there = self._folds(subject, cut)
            faults += self._folded_alike(subject, here, there, cut)
            if not faults:
                faults += self._merged_alike(subject, here, replayed)
            if live is not None:
                faults += _live_faults(projection, live, here)
        return Proof(
            name=projection.name,
            kind="projection",
            cut=cut,
            digest=replayed.digest if replayed is not None else "",
            live_digest=digest(live.state) if live is not None else None,
            records=records,
            undecodable=undecodable,
            faults=tuple(faults),
            replayed=replayed,
            seconds=time.monotonic() - began,
        )

    def _replayed(
        self, projection: Projection[Any], cut: Cut, on_progress: OnProgress | None
    ) -> tuple[Replayed[Any] | None, list[Fault]]:
        self._on_step(f"replaying {projection.name}")
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
            where = f"projection {projection.name}"
            return None, [Fault(kind="fold_failed", where=where, detail=str(error))]
        return found, []

    def _merged_alike(
        self, subject: ProjectionSubject, here: Parts, replayed: Replayed[Any]
    ) -> list[Fault]:
        """The same parts in every order, here and elsewhere, and as the replay merged them."""
        projection, rng = subject.projection, random.Random(self._seed)
        self._on_step(f"merging {projection.name} in other orders")
        parts = {source: part.stored for source, part in sorted(here.items())}
        states, orders = list(parts.values()), merge_orders(len(parts), rng)
        at_home = merge_digests(projection, states, orders)
        away = self._elsewhere.merge_digests(subject, states, orders)
        if len({*at_home, *away, replayed.digest}) == 1:
            return []
        if fault := broken_law(projection, parts, rng):
            return [fault]
        where = f"projection {projection.name}"
        plain = merge_in(projection, states, orders[0])
        differing = next((n for n, found in enumerate(at_home) if found != at_home[0]), None)
        if differing is not None:
            other = merge_in(projection, states, orders[differing])
            return [
                compared(
                    "merge_order",
                    where,
                    "the parts merge to another state in another order" + advice(plain, other),
                    ("merged in order of partitions", plain),
                    ("in another order", other),
                )
            ]
        if away != at_home:
            return [
                compared(
                    "merge_hash_order",
                    where,
                    "merge gives another state in a process with another hash seed: it hangs on "
                    "the order of a set, or on what the process has seen before",
                    ("this process", plain),
                    (self._elsewhere.name, self._elsewhere.merge_in(subject, states, orders[0])),
                )
            ]
        for source, end in replayed.cut:
            if fault := self._causes.of_two_folds(subject, source, end):
                return [fault]
        return [_replay_differs(projection, replayed, plain)]

    # --- aggregates --------------------------------------------------------------------------

    def aggregates(self, name: str, subject: StreamsSubject, cut: Cut | None = None) -> Proof:
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
        here, there = self._folds(subject, cut)
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

    def _folds(self, subject: Subject, cut: Cut) -> tuple[Parts, Parts]:
        ends = {source: end for source, end in cut if end > 0}
        keep = isinstance(subject, ProjectionSubject)
        self._on_step("once more, in another order")
        here = fold_partitions(subject, self._reader, self._codec, ends, self._seed, keep=keep)
        self._on_step("once more, in another process")
        return here, self._elsewhere.fold_partitions(subject, ends, self._seed + 1)

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
        self._on_step(f"looking for the record after which folds of {odd[0]} differ")
        first = odd[0]
        fault = self._causes.of_difference(
            subject, first, here[first], there[first], cut.ends[first]
        )
        if len(odd) > 1:
            text = f"{fault.detail} (and {len(odd) - 1} more partitions are not as they must be)"
            fault = msgspec.structs.replace(fault, detail=text)
        return [fault]


def _replay_differs(projection: Projection[Any], replayed: Replayed[Any], plain: Any) -> Fault:
    in_columns = isinstance(projection, Columnar)
    return compared(
        "columns_differ" if in_columns else "unsteady",
        f"projection {projection.name}",
        "apply_rows comes to another state than apply"
        if in_columns
        else "the replay came to another state than both folds after it: what the code does hangs "
        "on chance, or on what was folded before",
        ("replayed", replayed.state),
        ("record by record", plain),
    )


def _live_faults(projection: Projection[Any], live: LiveState[Any], here: Parts) -> list[Fault]:
    """Partitions whose stored state is not the replayed one, with what differs."""
    found: list[Fault] = []
    others = 0
    for row in sorted(live.rows, key=lambda row: row.source):
        part = here.get(row.source)
        if part is not None and part.failed:
            continue
        stored = cbor2.loads(row.state)
        folded = cbor2.loads(part.stored) if part is not None else projection.initial()
        if digest(stored) == digest(folded):
            continue
        if len(found) == PARTITIONS_NAMED_MAX:
            others += 1
            continue
        found.append(
            compared(
                "live_differs",
                f"{row.source}@{row.position}",
                f"the live state of projection {projection.name} is not what the log comes to",
                ("live", stored),
                ("replayed", folded),
            )
        )
    if others:
        detail = f"{found[-1].detail} (and so on {others} more partitions)"
        found[-1] = msgspec.structs.replace(found[-1], detail=detail)
    return found
