"""Replay: a projection's state, rebuilt from the log alone, at a cut.

Partitions are read by assignment, in no group, each up to the cut's end; each is folded alone and
the states are merged. What runs where:

| fold | records | runs |
| --- | --- | --- |
| columnar | few | threads: librdkafka and DataFusion work outside the interpreter's lock |
| Python | few | this thread |
| either | `PROCESS_RECORDS_MIN` and more | processes, if the codec can be opened anew there |
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from consumers.projections.columnar import ColumnDecoder
from consumers.projections.filters import EVERYTHING, Filters
from consumers.projections.partition_fold import Columnar, ColumnFold, PartitionFold, Tally
from consumers.projections.projection import Projection
from streams.cuts import Cut
from streams.digest import digest
from streams.errors import LogError
from streams.kafka.reader import KafkaLogReader
from streams.ports import LogReader
from streams.record import Partition
from streams.schemas import Codec
from streams.topics import Namespace

S = TypeVar("S")

PROCESS_RECORDS_MIN: Final = {True: 1_000_000, False: 150_000}
"""Records from which processes pay, by whether the fold is columnar: they take a second to start,
and a columnar fold does in that second what a Python fold does in four."""
WORKERS_MAX: Final = 8
"""Threads or processes that one replay uses at most; each holds one reader's fetch queue."""

COLLECT_EVERY: Final = 200_000
"""Objects made between two runs of the cyclic garbage collector while replaying."""

OnProgress = Callable[[int, int], None]
"""Called with (positions passed, positions in all) after each batch or range."""


class Range(NamedTuple):
    """Positions start ≤ p < end of one partition."""

    source: Partition
    start: int
    end: int


class Replayed(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """What a replay rebuilt."""

    state: S
    digest: str
    cut: Cut
    tally: Tally
    seconds: float
    """Wall time of reading, folding and merging."""

    @property
    def records(self) -> int:
        """Visible records read."""
        return self.tally.records

    @property
    def per_s(self) -> float:
        """Records per second."""
        return self.records / self.seconds if self.seconds else 0.0


def replay(
    projection: Projection[S],
    *,
    reader: LogReader,
    namespace: Namespace,
    codec: Codec,
    cut: Cut | None = None,
    filters: Filters = EVERYTHING,
    workers: int | None = None,
    columnar: bool = True,
    open_codec: Callable[[], Codec] | None = None,
    on_progress: OnProgress | None = None,
) -> Replayed[S]:
    """The projection's state over its topics below `cut` (default: the log's end as it is).

    `workers` bounds threads and processes (default: the machine's processors). Processes are used
    only with `open_codec`, a picklable function that opens the codec there, and a Kafka reader.
    Raises `LogError` if the cut is not of this log or its history is no longer whole.
    """
    began = time.monotonic()
    topics = namespace.topics(projection.topics)
    now = reader.ends(topics)
    cut = (now if cut is None else cut).of(topics)
    cut.require_same_log(now)
    ranges = _ranges(cut, reader.starts(topics), filters)
    many = min(workers or os.cpu_count() or 1, WORKERS_MAX, max(len(ranges), 1))
    in_columns = columnar and isinstance(projection, Columnar) and filters.in_columns
    size = sum(end - start for _, start, end in ranges)
    fold = partial(_fold_range, reader, codec, projection, namespace, filters, in_columns)
    if (
        many > 1
        and size >= PROCESS_RECORDS_MIN[in_columns]
        and open_codec
        and isinstance(reader, KafkaLogReader)
    ):
        pool = ProcessPoolExecutor(
            many,
            multiprocessing.get_context("spawn"),
            _open_process,
            (reader.bootstrap_servers, open_codec),
        )
        in_process = partial(_fold_in_process, projection, namespace, filters, in_columns)
        folded = _in_pool(pool, in_process, ranges, on_progress)
    elif many > 1 and in_columns:
        folded = _in_pool(ThreadPoolExecutor(many), fold, ranges, on_progress)
    else:
        folded = _in_turn(fold, ranges, on_progress)
    state, tally = projection.initial(), Tally()
    with _fewer_collections():
        for part, of_part in folded:
            state, tally = projection.merge(state, part), tally + of_part
    return Replayed(
        state=state, digest=digest(state), cut=cut, tally=tally, seconds=time.monotonic() - began
    )


def _ranges(cut: Cut, starts: dict[Partition, int], filters: Filters) -> list[Range]:
    """What there is to read, longest first. Raises `LogError` if a beginning was removed."""
    counts = Counter(source.topic for source in cut.ends)
    ranges = []
    for source, end in cut:
        if not filters.reads(source, counts[source.topic]):
            continue
        if starts[source] > 0 and end > 0:
            raise LogError(
                f"{source} begins at {starts[source]}: what was below is gone, so nothing that "
                "depends on it can be rebuilt; its topic must keep everything (retention.ms=-1)"
            )
        if end > 0:
            ranges.append(Range(source, 0, end))
    return sorted(ranges, key=lambda it: (it.start - it.end, it.source))


def _fold_range(
    reader: LogReader,
    codec: Codec,
    projection: Projection[S],
    namespace: Namespace,
    filters: Filters,
    in_columns: bool,
    span: Range,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[S, Tally]:
    logical = namespace.logical(span.source.topic)
    if in_columns and isinstance(projection, Columnar) and logical in projection.columnar_topics:
        with ColumnDecoder(codec) as decoder:
            fold: PartitionFold[S] = ColumnFold(projection, codec, filters, decoder)
            return _read_into(fold, reader, span, on_batch)
    return _read_into(PartitionFold(projection, codec, filters), reader, span, on_batch)


def _read_into(
    fold: PartitionFold[S],
    reader: LogReader,
    span: Range,
    on_batch: Callable[[int], None] | None,
) -> tuple[S, Tally]:
    for batch in reader.read(*span):
        fold.add(batch)
        if on_batch:
            on_batch(batch[-1].position + 1 - span.start)
    return fold.finish()


def _in_turn(
    fold: Callable[..., tuple[S, Tally]], ranges: Sequence[Range], on_progress: OnProgress | None
) -> Iterator[tuple[S, Tally]]:
    total, before = sum(end - start for _, start, end in ranges), 0
    for span in ranges:
        on_batch = None
        if on_progress:

            def on_batch(passed: int, before: int = before) -> None:
                on_progress(before + passed, total)

        yield fold(span, on_batch)
        before += span.end - span.start


def _in_pool(
    pool: Executor,
    fold: Callable[[Range], tuple[S, Tally]],
    ranges: Sequence[Range],
    on_progress: OnProgress | None,
) -> Iterator[tuple[S, Tally]]:
    """Ranges in parallel, longest first; states as they are ready, for merging commutes."""
    total, done = sum(end - start for _, start, end in ranges), 0
    try:
        futures = {pool.submit(fold, span): span for span in ranges}
        for future in as_completed(futures):
            span = futures[future]
            done += span.end - span.start
            if on_progress:
                on_progress(done, total)
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


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


_process: tuple[LogReader, Codec] | None = None


def _open_process(bootstrap_servers: str, open_codec: Callable[[], Codec]) -> None:
    """Once per process: its own reader and codec."""
    gc.set_threshold(COLLECT_EVERY)
    global _process  # noqa: PLW0603  # a pool's initializer has no other place to put it
    _process = (KafkaLogReader(bootstrap_servers), open_codec())


def _fold_in_process(
    projection: Projection[Any],
    namespace: Namespace,
    filters: Filters,
    in_columns: bool,
    span: Range,
) -> tuple[Any, Tally]:
    assert _process is not None
    reader, codec = _process
    return _fold_range(reader, codec, projection, namespace, filters, in_columns, span)
