"""questions: what was asked of the log's read models, as the log grows.

One namespace is filled to 50 thousand, 500 thousand and 5 million records. At each length the index
and the agents' history are brought up to date, and then asked: the causal tree of a correlation of
up to 20 records, and an agent as it was at some moment. Both read records from Kafka, too.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from msgspec.structs import replace

from benchmarks.figures import Figure, Results, at_most
from benchmarks.fill import fill_each
from benchmarks.history import endless_history
from benchmarks.quiet import wait_for_quiet
from benchmarks.stage import Stage, open_codec
from benchmarks.watcher import quantile
from consumers.agent_history import AgentHistory, agent_at
from consumers.databases import Database
from consumers.index import LogIndex
from consumers.projections.metrics import DATA_TOPICS
from consumers.read_models import Generations, ReadModel, RowKeeper, catch_up
from consumers.read_models.reading import read_live
from consumers.tracing import Tracer
from streams.kafka.lookup import KafkaLookup
from streams.kafka.reader import KafkaLogReader
from streams.schemas import Codec
from streams.topics import SCHEMAS, TASKS, Namespace

BAR_TRACE_MS: Final = 100.0
BAR_AGENT_MS: Final = 200.0
LENGTHS: Final = ((50_000, 6_000), (500_000, 12_000), (5_000_000, 24_000))
"""Records, and in a quick run."""
RECORDS_MAX: Final = 20
"""Of a correlation that is asked for."""
ASKED: Final = 500
WARM: Final = 50
"""Questions before them, which nobody times."""
ROUNDS: Final = 3
SEED: Final = 6


class Sample(NamedTuple):
    """What is asked for."""

    correlations: Sequence[str]
    agents: Sequence[str]


class Ground(NamedTuple):
    """Where it is asked."""

    stage: Stage
    namespace: Namespace
    codec: Codec
    reader: KafkaLogReader
    lookup: KafkaLookup
    folder: Path


def bench(stage: Stage) -> Results:
    """Fill, bring up to date, ask; and again, ten times as long."""
    lengths = [stage.size(full, quick) for full, quick in LENGTHS]
    figures: list[Figure] = []
    codec = open_codec()
    with (
        stage.namespaces([*LogIndex.topics, SCHEMAS]) as [namespace],
        tempfile.TemporaryDirectory(prefix="agentlog-questions-") as folder,
        KafkaLogReader(stage.bootstrap_servers) as reader,
        KafkaLookup(stage.bootstrap_servers) as lookup,
    ):
        ground = Ground(stage, namespace, codec, reader, lookup, Path(folder))
        filled = 0
        history = endless_history(lengths[-1])
        for length in lengths:
            stage.say(f"  filling up to {length:,} records")
            topic = namespace.topic(TASKS)
            fill_each(stage.bootstrap_servers, topic, codec, islice(history, length - filled))
            filled = length
            sample = _sample(length)
            figures += _traces(ground, sample, length)
            figures += _agents(ground, sample, length)
    return Results(
        bench="questions",
        workload=f"{', '.join(f'{length:,}' for length in lengths)} records of the history on one "
        f"topic of 8 partitions; read models in SQLite. {ASKED} questions a round, after {WARM} "
        f"that warm: correlations of up to {RECORDS_MAX} records, and agents at a random share of "
        "each partition, drawn evenly.",
        measured=[],
        figures=figures,
    )


def _sample(length: int) -> Sample:
    """From the log's end: what was appended last."""
    drawn = random.Random(SEED)
    records: Counter[str] = Counter()
    agents: set[str] = set()
    for envelope in islice(endless_history(length), max(0, length - 20_000), None):
        records[envelope.correlation_id or envelope.id] += 1
        agents.add(envelope.sender)
    few = sorted(one for one, count in records.items() if count <= RECORDS_MAX)
    return Sample(drawn.choices(few, k=WARM + ROUNDS * ASKED), sorted(agents))


def _traces(ground: Ground, sample: Sample, length: int) -> list[Figure]:
    with closing(_database(ground, "index")) as database:
        generations, rate = _up_to_date(ground, database, LogIndex())
        tracer = Tracer(generations, ground.lookup, ground.codec, ground.namespace)

        def ask(number: int) -> None:
            if not tracer.trace(sample.correlations[number]).nodes:
                raise AssertionError(f"{sample.correlations[number]} has no trace")

        return [
            Figure(
                meaning=f"trace, {length:,} records: p99",
                rounds=_rounds(ground.stage, ask),
                unit="ms",
                bar=at_most(BAR_TRACE_MS),
            ),
            Figure(meaning=f"index brought to {length:,}: records/s", rounds=[rate], unit="/s"),
        ]


def _agents(ground: Ground, sample: Sample, length: int) -> list[Figure]:
    drawn = random.Random(SEED)
    now = ground.reader.ends(ground.namespace.topics(DATA_TOPICS))
    with closing(_database(ground, "agents")) as database:
        generations, rate = _up_to_date(ground, database, AgentHistory())

        def ask(number: int) -> None:
            agent = sample.agents[number % len(sample.agents)]
            cut = replace(
                now, ends={source: int(drawn.random() * end) for source, end in now.ends.items()}
            )
            read_live(
                generations,
                lambda view: agent_at(
                    view, ground.lookup, ground.codec, ground.namespace, agent, cut
                ),
            )

        return [
            Figure(
                meaning=f"an agent at a moment, {length:,} records: p99",
                rounds=_rounds(ground.stage, ask),
                unit="ms",
                bar=at_most(BAR_AGENT_MS),
            ),
            Figure(
                meaning=f"agents' history brought to {length:,}: records/s",
                rounds=[rate],
                unit="/s",
            ),
        ]


def _database(ground: Ground, name: str) -> Database:
    return Database(f"sqlite:///{ground.folder / name}.sqlite")


def _up_to_date(ground: Ground, database: Database, model: ReadModel) -> tuple[Generations, float]:
    """Rows for all that is there, and how many records a second that took."""
    generations = Generations(database, model, ground.namespace.name)
    keeper = RowKeeper(generations, ground.codec)
    cut = ground.reader.ends(ground.namespace.topics(model.topics))
    had = sum(keeper.positions(cut).values())
    began = time.perf_counter()
    if not catch_up(keeper, ground.reader, cut):
        raise AssertionError(f"{model.name} did not catch up")
    rate = (sum(cut.ends.values()) - had) / (time.perf_counter() - began)
    ground.stage.say(f"  {model.name}: {rate:,.0f} records/s")
    return generations, rate


def _rounds(stage: Stage, ask: Callable[[int], None]) -> list[float]:
    """The 99th percentile of each round, in ms."""
    for number in range(WARM):
        ask(number)
    found = []
    for turn in range(ROUNDS):
        if not stage.quick:
            wait_for_quiet()
        took = []
        for number in range(WARM + turn * ASKED, WARM + (turn + 1) * ASKED):
            began = time.perf_counter()
            ask(number)
            took.append((time.perf_counter() - began) * 1000)
        found.append(quantile(sorted(took), 0.99))
        stage.say(f"  round {turn + 1}: p99 {found[-1]:.1f} ms")
    return found
