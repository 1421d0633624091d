"""review: what the log says of a change of schemas, beside a metrics replay of the same records.

Records of a type that did not change are passed by the five bytes before them; the others are read
under both schemas. So it is measured with no type, one of two types and both types changed. What
projections would come to is no part of it: `agentlog what-if` is what folds twice.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.figures import Results, at_most, ratio
from benchmarks.fill import fill
from benchmarks.history import history
from benchmarks.rounds import Contender, alternate
from benchmarks.stage import Stage, open_codec
from consumers.projections.metrics import DATA_TOPICS, Metrics
from consumers.replay import replay
from consumers.reviewing.gathering import gather
from consumers.reviewing.gathering import open_codec as open_review_codec
from consumers.reviewing.sides import Sides
from consumers.reviewing.sites import Happening
from streams.kafka.reader import KafkaLogReader
from streams.schemas.folders import builtin_folder
from streams.settings import Settings
from streams.topics import JOURNAL, TASKS, Namespace

BAR: Final = 1.5
DISTINCT: Final = 57_580
"""Different envelopes that the log is made of: ten laps of the history."""
TOPICS: Final = (*DATA_TOPICS, JOURNAL)
_ADDED: Final = {"name": "reviewed_by", "type": "string", "doc": "Who saw it.", "default": ""}


def bench(stage: Stage) -> Results:
    """One topic of 8 partitions; the change adds a field to types and widens a number."""
    codec, servers = open_codec(), stage.bootstrap_servers
    records = stage.size(1_000_000, 50_000)
    envelopes = history(min(DISTINCT, records))
    types = sorted({envelope.type for envelope in envelopes})
    with (
        tempfile.TemporaryDirectory(prefix="agentlog-bench-") as folder,
        stage.namespaces([*TOPICS]) as [namespace],
    ):
        fill(servers, namespace.topic(TASKS), codec, envelopes, records)
        reviews = [
            _Review(servers, namespace, Path(folder), types[:many], records)
            for many in (0, 1, len(types))
        ]
        measured = alternate(
            stage,
            [
                Contender("replay metrics", lambda: _replayed(servers, namespace, records)),
                Contender("review, nothing of it changed", reviews[0].run),
                Contender("review, one type changed", reviews[1].run),
                Contender("review, all types changed", reviews[2].run),
            ],
            stage.size(5, 2),
        )
    metrics, *found = measured
    meanings = (
        "a review's time over a metrics replay's, nothing of it changed",
        f"the same, one type changed ({reviews[1].read:,} records read)",
        f"the same, all types changed ({reviews[2].read:,} records read)",
    )
    return Results(
        bench="review",
        workload=f"{records:,} records like the history's on one topic of 8 partitions. Each "
        "record of a changed type was read under both schemas, and got the default of a field that "
        "its writer lacks; counts were checked.",
        measured=measured,
        figures=[
            ratio(meaning, metrics, one, bar=at_most(BAR))
            for meaning, one in zip(meanings, found, strict=True)
        ],
    )


class _Review:
    """The evidence, process starts included."""

    def __init__(
        self, servers: str, namespace: Namespace, home: Path, types: Iterable[str], records: int
    ) -> None:
        names = list(types)
        self._servers = servers
        self._namespace = namespace
        self._sides = Sides(builtin_folder(), _changed(home / str(len(names)), names))
        self._records = records
        self.read = 0

    def run(self) -> float:
        began = time.perf_counter()
        settings = Settings(namespace=self._namespace.name)
        with KafkaLogReader(self._servers) as reader:
            found = gather(
                self._sides,
                reader=reader,
                namespace=self._namespace,
                codec=open_review_codec(self._sides, self._servers, settings),
                open_codec=partial(open_review_codec, self._sides, self._servers, settings),
                topics=TOPICS,
            ).evidence
        seconds = time.perf_counter() - began
        self.read = sum(one.records for one in found.observed.values())
        for one in found.observed.values():
            seen = one.sites[Happening.DEFAULTED, "$.reviewed_by"]
            if one.failed or seen.count != one.records:
                raise AssertionError(f"{one.records} records were read, {seen.count} so")
        if found.records != self._records:
            raise AssertionError(f"the review saw {found.records} of {self._records}")
        return self._records / seconds


def _changed(folder: Path, types: Iterable[str]) -> Path:
    """Our schemas, with a field more and a wider number in some types."""
    shutil.copytree(builtin_folder(), folder)
    for name in types:
        [path] = folder.glob(f"*/{name.rpartition('.')[2]}.avsc")
        text = path.read_text(encoding="utf-8").replace('"type": "int"', '"type": "long"')
        schema = json.loads(text)
        schema["fields"].append(_ADDED)
        path.write_text(json.dumps(schema, indent=2), encoding="utf-8")
    return folder


def _replayed(servers: str, namespace: Namespace, records: int) -> float:
    began = time.perf_counter()
    with KafkaLogReader(servers) as reader:
        replayed = replay(
            Metrics(),
            reader=reader,
            namespace=namespace,
            codec=open_codec(),
            open_codec=open_codec,
        )
    seconds = time.perf_counter() - began
    if replayed.records != records:
        raise AssertionError(f"the replay saw {replayed.records} of {records}")
    return records / seconds
