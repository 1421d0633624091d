"""scaling: how fast a log is folded again, by its partitions and by the processes that do it.

The same million records on topics of one, two, four and eight partitions. Metrics are folded in
columns, states in Python; with more processes than one the partitions are shared out.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure, Measured, Results
from benchmarks.fill import fill_each
from benchmarks.history import endless_history
from benchmarks.rebuild import Rebuilt, rebuilt
from benchmarks.rounds import Contender, take_turns
from benchmarks.stage import Stage, open_codec
from consumers.projections.metrics import DATA_TOPICS
from streams.topics import JOURNAL, TASKS, Namespace

PARTITIONS: Final = (1, 2, 4, 8)
PROCESSES: Final = (1, 2)
FOLDS: Final = ("metrics", "states")
PLOT: Final = Path(__file__).parent / "scaling.png"


def bench(stage: Stage) -> Results:
    """Every fold on every topic by every number of processes, in turns; and their picture."""
    records = stage.size(1_000_000, 20_000)
    measured: list[Measured] = []
    for count in PARTITIONS:
        with stage.namespaces([*DATA_TOPICS, JOURNAL], partitions=count) as [namespace]:
            stage.say(f"  filling {records:,} records, partitions: {count}")
            topic = namespace.topic(TASKS)
            fill_each(stage.bootstrap_servers, topic, open_codec(), endless_history(records))
            measured += _of(stage, namespace, records, count)
    if not stage.quick:
        draw(measured, PLOT)
    return Results(
        bench="scaling",
        workload=f"{records:,} records on one topic, lz4, read committed; every run in a process "
        f"of its own, its reader's start included. ![The rates of this table]({PLOT.name})",
        measured=measured,
        figures=[_gain(measured, fold) for fold in FOLDS],
    )


def _of(stage: Stage, namespace: Namespace, records: int, count: int) -> list[Measured]:
    run = partial(rebuilt, stage.bootstrap_servers, namespace, records)
    contenders = [
        Contender(name(fold, count, workers), partial(_rate, partial(run, fold, workers)))
        for fold in FOLDS
        for workers in PROCESSES
        if workers <= count
    ]
    turns = take_turns(
        stage, contenders, stage.size(3, 1), lambda rate: f"{rate:,.0f}/s", warm_up=False
    )
    return [Measured(*one) for one in turns]


def _rate(run: partial[Rebuilt]) -> float:
    return run().per_s


def name(fold: str, partitions: int, processes: int) -> str:
    """What the table calls a run."""
    return f"{fold}, partitions: {partitions}, processes: {processes}"


def _gain(measured: list[Measured], fold: str) -> Figure:
    rates = {one.name: one.rates for one in measured}
    most = PARTITIONS[-1]
    alone, shared = (rates[name(fold, most, processes)] for processes in PROCESSES)
    return Figure(
        meaning=f"{fold}, {most} partitions: two processes over one",
        rounds=[two / one for one, two in zip(alone, shared, strict=True)],
    )


def draw(measured: list[Measured], file: Path) -> None:
    """The medians over the partitions, a line for each fold and number of processes."""
    import matplotlib as mpl  # noqa: PLC0415 - slow, and of this bench alone

    mpl.use("agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    rates = {one.name: one.median_per_s for one in measured}
    figure, sides = plt.subplots(1, len(FOLDS), figsize=(9, 3.6), layout="constrained")
    for fold, axes in zip(FOLDS, sides, strict=True):
        for processes in PROCESSES:
            counts = [count for count in PARTITIONS if count >= processes]
            axes.plot(
                counts,
                [rates[name(fold, count, processes)] / 1000 for count in counts],
                marker="o",
                label=f"{processes} process{'es' * (processes > 1)}",
            )
        axes.set_title(fold)
        axes.set_xlabel("partitions")
        axes.set_xscale("log", base=2)
        axes.set_xticks(PARTITIONS, map(str, PARTITIONS))
        axes.set_ylabel("thousand records a second")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(file, dpi=120)
    plt.close(figure)
