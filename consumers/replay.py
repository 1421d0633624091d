"""Replay: a projection's state, rebuilt from the log alone, at a cut.

Partitions are read by assignment, in no group, each up to the cut's end; each is folded alone and
the states are merged (`consumers.folds`). What runs where:

| fold | records | runs |
| --- | --- | --- |
| columnar | few | threads: librdkafka and DataFusion work outside the interpreter's lock |
| Python | few | this thread |
| either | `PROCESS_RECORDS_MIN` and more | processes, if the codec can be opened anew there |

A replay that takes longer keeps what it has folded in a folder, if it is given one; when it was
killed, the next replay of the same goes on from there, and removes it when it is done.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from consumers.folds import (
    Folded,
    Keeper,
    OnProgress,
    Range,
    RangeFold,
    fold_in_processes,
    fold_in_threads,
    fold_in_turn,
    ranges_of,
)
from consumers.folds.child import COLLECT_EVERY
from consumers.folds.identity import identity_of, settings_of
from consumers.folds.kept import GAVE_UP, KEEP_AFTER_S, remove_old
from consumers.projections.filters import EVERYTHING, Filters
from consumers.projections.partition_fold import Columnar, Tally, fold_failed
from consumers.projections.projection import Projection
from streams.cuts import Cut
from streams.digest import digest
from streams.errors import AgentlogError
from streams.kafka.reader import KafkaLogReader
from streams.ports import LogReader
from streams.schemas import Codec
from streams.topics import Namespace

S = TypeVar("S")

PROCESS_RECORDS_MIN: Final = {True: 1_000_000, False: 150_000}
"""Records from which processes pay, by whether the fold is columnar: they take a second to start,
and a columnar fold does in that second what a Python fold does in four."""
WORKERS_MAX: Final = 8
"""Threads or processes that one replay uses at most; each holds one reader's fetch queue."""

OnNote = Callable[[str], None]
"""Called with a sentence for whoever runs the replay."""


class Replayed(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """What a replay rebuilt."""

    state: S
    digest: str
    cut: Cut
    tally: Tally
    seconds: float
    """Wall time of reading, folding and merging."""
    kept_records: int = 0
    """Of its records, those that an earlier run had folded."""

    @property
    def records(self) -> int:
        """Visible records folded."""
        return self.tally.records

    @property
    def per_s(self) -> float:
        """Records read per second."""
        return (self.records - self.kept_records) / self.seconds if self.seconds else 0.0


def replay(
    projection: Projection[S],
    *,
    reader: LogReader,
    namespace: Namespace,
    codec: Codec,
    cut: Cut | None = None,
    since: Cut | None = None,
    filters: Filters = EVERYTHING,
    workers: int | None = None,
    columnar: bool = True,
    open_codec: Callable[[], Codec] | None = None,
    keep_in: Path | None = None,
    fresh: bool = False,
    on_progress: OnProgress | None = None,
    on_note: OnNote = lambda note: None,  # noqa: ARG005
) -> Replayed[S]:
    """The projection's state over its topics below `cut` (default: the log's end as it is).

    With `since`, only of the records from there on. `workers` bounds threads and processes
    (default: the machine's processors). Processes are used only with `open_codec`, a picklable
    function that opens the codec there, a Kafka reader and a projection that can be pickled.

    In the folder `keep_in` the replay keeps what it has folded, and begins with what a killed one
    left there, unless `fresh`; `on_note` is told of that, and of what cannot be kept. Of a
    projection that cannot be pickled nothing is kept.

    Raises `LogError` if the cut is not of this log or its history is no longer whole,
    `AgentlogError` that names the record if the fold fails.
    """
    began = time.monotonic()
    tell = on_progress or (lambda passed, total: None)  # noqa: ARG005
    topics = namespace.topics(projection.topics)
    now = reader.ends(topics)
    cut = (now if cut is None else cut).of(topics)
    cut.require_same_log(now)
    ranges = ranges_of(cut, reader.starts(topics), filters, since)
    settings = settings_of(projection)
    keeper = None
    if keep_in is not None and settings is not None:
        asked = namespace, filters, cut, since
        identity = identity_of(projection, settings, codec.catalogue, *asked)
        keeper = Keeper(keep_in, identity, first_s=began + KEEP_AFTER_S)
        _begin(keeper, keep_in, ranges, fresh=fresh, on_note=on_note)
    in_columns = columnar and isinstance(projection, Columnar) and filters.in_columns
    fold = RangeFold(projection, namespace, filters, in_columns, keeper)
    many = min(workers or os.cpu_count() or 1, WORKERS_MAX, max(len(ranges), 1))
    size = sum(span.positions for span in ranges)
    if (
        many > 1
        and size >= PROCESS_RECORDS_MIN[in_columns]
        and open_codec
        and settings is not None
        and isinstance(reader, KafkaLogReader)
    ):
        servers = reader.bootstrap_servers
        folded = fold_in_processes(fold, ranges, many, servers, open_codec, tell)
    elif many > 1 and in_columns:
        folded = fold_in_threads(fold, ranges, many, reader, codec, tell)
    else:
        folded = fold_in_turn(fold, ranges, reader, codec, tell)
    with _fewer_collections():
        state, tally, kept_records = _merged(projection, folded, on_note)
    done = Replayed(
        state=state,
        digest=digest(state),
        cut=cut,
        tally=tally,
        seconds=time.monotonic() - began,
        kept_records=kept_records,
    )
    if keeper is not None:
        keeper.discard(ranges)
    return done


def _begin(
    keeper: Keeper, home: Path, ranges: Sequence[Range], *, fresh: bool, on_note: OnNote
) -> None:
    """Say what there is to go on from, and throw away what nobody wants."""
    remove_old(home, time.time())
    if fresh:
        keeper.discard(ranges)
    if passed := sum(keeper.farthest(span) - span.start for span in ranges):
        total = sum(span.positions for span in ranges)
        on_note(
            f"going on where an earlier replay was stopped: {passed:,} of {total:,} positions are "
            "folded already (--fresh begins anew)"
        )


def _merged(
    projection: Projection[S], folded: Iterator[Folded[S]], on_note: OnNote
) -> tuple[S, Tally, int]:
    state, tally, kept_records = projection.initial(), Tally(), 0
    noted: set[str] = set()
    for part in folded:
        for warning in part.warnings:
            kind = GAVE_UP if warning.startswith(GAVE_UP) else warning
            if kind not in noted:
                noted.add(kind)
                on_note(warning)
        try:
            state = projection.merge(state, part.state)
        except AgentlogError:
            raise
        except Exception as error:
            raise fold_failed(projection, "a merge of two partitions", error) from error
        tally += part.tally
        kept_records += part.kept_records
    return state, tally, kept_records


@contextmanager
def _fewer_collections() -> Iterator[None]:
    """The cyclic collector walks every message in flight, again and again, and finds nothing.

    Measured: a third of the time of a bare read. It still runs, only less often.
    """
    before = gc.get_threshold()
    gc.set_threshold(COLLECT_EVERY)
    try:
        yield
    finally:
        gc.set_threshold(*before)
