"""Gathering: the evidence of a history up to a cut, or of a sample of it.

Ranges of partitions are looked at side by side in processes, as a replay folds them; few records in
this thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from consumers.folds import OnProgress, Range, fold_in_processes, fold_in_turn
from consumers.reviewing.evidence import Evidence
from consumers.reviewing.looking import EvidenceFold
from consumers.reviewing.sides import Sides
from streams.cuts import Cut
from streams.errors import ConfigurationError
from streams.kafka.reader import KafkaLogReader
from streams.ports import LogReader
from streams.schemas import Codec
from streams.session import schema_sources
from streams.settings import Settings
from streams.topics import TOPICS, Namespace

REVIEWED: Final = tuple(name for name, topic in TOPICS.items() if not topic.compacted)
"""Topics that are looked at, by logical name: all that keep what was said."""
PROCESS_RECORDS_MIN: Final = 300_000
"""Positions from which processes pay: they take a second to start."""
WORKERS_MAX: Final = 8
"""Processes of one review at most; each holds one reader's fetch queue."""
SAMPLE_SPANS_MAX: Final = 20
"""Stretches that a sample takes of one partition."""


class Gathered(msgspec.Struct, frozen=True, kw_only=True):
    """What was looked at, and what there was."""

    evidence: Evidence
    cut: Cut
    positions: int
    """All that there are up to the cut."""
    looked_at: int
    """Of them, those that were looked at."""
    spans: int
    """In how many stretches."""
    partitions: int
    seconds: float

    @property
    def is_sample(self) -> bool:
        """Whether not everything was looked at."""
        return self.looked_at < self.positions


def gather(
    sides: Sides,
    *,
    reader: LogReader,
    namespace: Namespace,
    codec: Codec,
    open_codec: Callable[[], Codec] | None = None,
    cut: Cut | None = None,
    sample: int | None = None,
    topics: tuple[str, ...] = REVIEWED,
    workers: int | None = None,
    on_progress: OnProgress = lambda passed, total: None,  # noqa: ARG005
) -> Gathered:
    """The evidence below `cut` (default: the log's end as it is), or of about `sample` records.

    The codec knows the schemas of writers. Processes are used only with a function that opens it
    there, and a Kafka reader. Raises `ConfigurationError` if nothing is stored there, `LogError` if
    the cut is of another log.
    """
    began = time.monotonic()
    cut, whole = stored_below(cut, reader, namespace.topics(topics))
    positions = sum(span.positions for span in whole)
    spans = whole if sample is None else spread(whole, sample)
    evidence = Evidence()
    for found in _looked(sides, spans, reader, codec, open_codec, workers, on_progress):
        evidence.merge(found)
    if not evidence.records and spans != whole:
        raise ConfigurationError(
            f"a sample of {sample} met no record among {positions:,} positions of namespace "
            f"{namespace.name}, where transactions have some too: take a larger one"
        )
    if not evidence.records:
        raise ConfigurationError(
            f"nothing is stored in namespace {namespace.name} up to there: an empty history tells "
            "nothing of a change; name another AGENTLOG_NAMESPACE, a later cut, or leave out "
            "--history and --sample to review the schemas alone"
        )
    return Gathered(
        evidence=evidence,
        cut=cut,
        positions=positions,
        looked_at=sum(span.positions for span in spans),
        spans=len(spans),
        partitions=len(whole),
        seconds=time.monotonic() - began,
    )


def stored_below(
    cut: Cut | None, reader: LogReader, topics: Sequence[str]
) -> tuple[Cut, list[Range]]:
    """The cut (default: the log's end as it is) of some topics, and what is stored below it."""
    now = reader.ends(topics)
    cut = (now if cut is None else cut).of(topics)
    cut.require_same_log(now)
    starts = reader.starts(topics)
    return cut, [Range(source, starts[source], end) for source, end in cut if starts[source] < end]


def spread(whole: Sequence[Range], records: int) -> list[Range]:
    """About so many positions, evenly over partitions and within them, in a few stretches each.

    The last stretch ends where the partition does: what was written last counts most.
    """
    total = sum(span.positions for span in whole)
    if records >= total:
        return list(whole)
    found = []
    for span in whole:
        many = max(1, round(records * span.positions / total))
        count = min(SAMPLE_SPANS_MAX, many)
        for n in range(count):
            start, end = (span.start + k * span.positions // count for k in (n, n + 1))
            length = min((n + 1) * many // count - n * many // count, end - start)
            # From the beginning of the first part to the end of the last one.
            start += (end - start - length) * (n + 1) // count
            found.append(Range(span.source, start, start + length))
    return found


def _looked(
    sides: Sides,
    spans: Sequence[Range],
    reader: LogReader,
    codec: Codec,
    opener: Callable[[], Codec] | None,
    workers: int | None,
    on_progress: OnProgress,
) -> Iterator[Evidence]:
    fold = EvidenceFold(sides)
    longest = sorted(spans, key=lambda span: (-span.positions, span.source, span.start))
    many = min(workers or os.cpu_count() or 1, WORKERS_MAX, max(len(spans), 1))
    size = sum(span.positions for span in spans)
    if many > 1 and size >= PROCESS_RECORDS_MIN and opener and isinstance(reader, KafkaLogReader):
        servers = reader.bootstrap_servers
        return fold_in_processes(fold, longest, many, servers, opener, on_progress)
    return fold_in_turn(fold, longest, reader, codec, on_progress)


def open_codec(sides: Sides, bootstrap_servers: str, settings: Settings) -> Codec:
    """What knows the schemas of all writers: those of the locks, and where others are looked up."""
    return Codec(sides.known, schema_sources(bootstrap_servers, settings))
