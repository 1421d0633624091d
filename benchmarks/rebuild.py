"""rebuild: five million envelopes of the real skew, folded again from the log.

kafka-consumer-perf-test only fetches. Metrics are folded in columns, states in Python, both from
fully decoded records and with the end's merge. Each run has a process of its own, for its peak of
memory.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from benchmarks.elsewhere import elsewhere
from benchmarks.figures import Figure, Measured, Results, at_least, ratio
from benchmarks.fill import fill_each
from benchmarks.history import endless_history
from benchmarks.perf_tools import consumer_perf_test
from benchmarks.profiling import profiled
from benchmarks.rounds import Contender, take_turns
from benchmarks.stage import Stage, open_codec
from consumers.projections.agent_state import AgentState
from consumers.projections.metrics import DATA_TOPICS, Metrics
from consumers.replay import replay
from streams.cuts import Cut
from streams.kafka.reader import KafkaLogReader
from streams.topics import JOURNAL, TASKS, Namespace

BAR_METRICS: Final = 0.5
BAR_STATES: Final = 0.1
BAR_STATES_TWO: Final = 0.15
PART: Final = 10
"""The shorter log that memory is compared with has one in so many of the records."""


class Rebuilt(NamedTuple):
    """One run."""

    per_s: float
    peak_mib: float
    """Of the process that asked for it and of its largest child, added."""


def bench(stage: Stage) -> Results:
    """One topic of 8 partitions, from its beginning to its end."""
    records = stage.size(5_000_000, 50_000)
    servers = stage.bootstrap_servers
    with stage.namespaces([*DATA_TOPICS, JOURNAL]) as [namespace]:
        topic = namespace.topic(TASKS)
        stage.say(f"  filling {records:,} records")
        fill_each(servers, topic, open_codec(), endless_history(records))
        run = partial(rebuilt, servers, namespace, records)
        part = _first_part(servers, namespace)
        runs = take_turns(
            stage,
            [
                Contender("metrics", partial(run, "metrics", 2)),
                Contender("states, one process", partial(run, "states", 1)),
                Contender("states, two processes", partial(run, "states", 2)),
                Contender("states of a tenth", partial(run, "states", 1, part)),
                Contender(
                    "kafka-consumer-perf-test",
                    lambda: Rebuilt(consumer_perf_test(servers, topic, records=records), 0.0),
                ),
            ],
            stage.size(3, 1),
            shown=lambda run: f"{run.per_s:,.0f}/s, {run.peak_mib:.0f} MiB",
            warm_up=False,
        )
    measured = [Measured(one.name, [run.per_s for run in one.found], one.others) for one in runs]
    metrics, one, two, _, tool = measured
    peaks = [[run.peak_mib for run in turns.found] for turns in runs]
    over = "over kafka-consumer-perf-test, which only fetches"
    return Results(
        bench="rebuild",
        workload=f"{records:,} records, each with ids of its own, on one topic of 8 partitions, "
        "lz4, read committed; every run in a process of its own, its reader's start included.",
        measured=measured,
        figures=[
            ratio(f"metrics {over}", metrics, tool, bar=at_least(BAR_METRICS)),
            ratio(f"states, one process, {over}", one, tool, bar=at_least(BAR_STATES)),
            ratio(f"states, two processes, {over}", two, tool, bar=at_least(BAR_STATES_TWO)),
            Figure(meaning="metrics: peak of memory", rounds=peaks[0], unit="MiB"),
            Figure(meaning="states, one process: peak of memory", rounds=peaks[1], unit="MiB"),
            Figure(
                meaning="states: peak of memory over that for a tenth of the log",
                rounds=[all_ / some for all_, some in zip(peaks[1], peaks[3], strict=True)],
            ),
        ],
    )


def _first_part(servers: str, namespace: Namespace) -> str:
    """A cut at a tenth of each partition."""
    with KafkaLogReader(servers) as reader:
        now = reader.ends(namespace.topics(DATA_TOPICS))
    part = {source: end // PART for source, end in now.ends.items()}
    return replace(now, ends=part).encode()


def profile(stage: Stage) -> Sequence[str]:
    """Where the time of a rebuild goes, in one process."""
    records, servers = stage.size(300_000, 10_000), stage.bootstrap_servers

    def run(projection: Any, namespace: Namespace) -> float:
        began = time.perf_counter()
        with KafkaLogReader(servers) as reader:
            replay(
                projection,
                reader=reader,
                namespace=namespace,
                codec=open_codec(),
                workers=1,
                open_codec=open_codec,
            )
        return records / (time.perf_counter() - began)

    with stage.namespaces([*DATA_TOPICS, JOURNAL]) as [namespace]:
        fill_each(servers, namespace.topic(TASKS), open_codec(), endless_history(records))
        return [
            profiled(f"rebuild of {name}", partial(run, projection, namespace))
            for name, projection in (("metrics", Metrics()), ("states", AgentState()))
        ]


def rebuilt(
    servers: str, namespace: Namespace, records: int, what: str, workers: int, cut: str = ""
) -> Rebuilt:
    """Fold the namespace's log in a process of its own: `what` is metrics or states."""
    asked = (servers, namespace.name, records, what, workers, cut)
    with elsewhere(_rebuild, *asked, daemon=False) as run:
        found: Rebuilt = run.pipe.recv()
    return found


def _rebuild(
    told: Connection,
    servers: str,
    namespace: str,
    records: int,
    what: str,
    workers: int,
    cut: str,
) -> None:
    began = time.perf_counter()
    projection: Any = Metrics() if what == "metrics" else AgentState()
    with KafkaLogReader(servers) as reader:
        replayed = replay(
            projection,
            reader=reader,
            namespace=Namespace(namespace),
            codec=open_codec(),
            cut=Cut.decode(cut) if cut else None,
            workers=workers,
            open_codec=open_codec,
        )
    seconds = time.perf_counter() - began
    if not cut and replayed.records != records:
        raise AssertionError(f"the replay saw {replayed.records} of {records}")
    peak_kib = sum(
        resource.getrusage(who).ru_maxrss
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    told.send(Rebuilt(replayed.records / seconds, peak_kib / 1024))
