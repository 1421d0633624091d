"""`agentlog demo`: the main job."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from consumers.cli.demo_story import story_document, story_view
from consumers.cli.output import emit, stderr, stdout
from consumers.demo.report import show
from consumers.demo.run import HISTORY, Plan, run
from streams.errors import ProofFailed
from streams.session import read_settings

_DEFAULTS = Plan()


def demo(
    history: Annotated[
        Path, typer.Option(help="S3 messages, .jsonl or .jsonl.gz, with their oracle beside.")
    ] = HISTORY,
    workers: Annotated[int, typer.Option(min=2, max=16)] = _DEFAULTS.workers,
    pods: Annotated[int, typer.Option(min=1, max=16)] = _DEFAULTS.pods,
    jobs: Annotated[int, typer.Option(min=50, help="Jobs that each pod gives.")] = _DEFAULTS.jobs,
    seed: Annotated[int, typer.Option(help="What the pods draw from.")] = _DEFAULTS.seed,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Leave the namespace on Kafka, to look around."),
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Put a real history and a live fleet on real Kafka, kill a worker, and prove what is left.

    Exit code 1 if any proof fails. SIGTERM ends it as Ctrl-C does: nothing stays running.
    """
    signal.signal(signal.SIGTERM, _terminate)
    plan = Plan(history, workers=workers, pods=pods, jobs=jobs, seed=seed, keep=keep)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr) as progress:
        report = run(plan, read_settings(), progress)
    if json_:
        story = None if report.story is None else story_document(report.story)
        emit({**msgspec.structs.asdict(report), "story": story, "ok": report.ok})
    else:
        show(report, stdout, None if report.story is None else story_view(report.story))
        if keep:
            stdout.print(f"look around: AGENTLOG_NAMESPACE={report.namespace} agentlog tail")
    if not report.ok:
        failed = ", ".join(name for name, holds in report.proofs.items() if not holds)
        raise ProofFailed(f"not proven: {failed}")


def _terminate(number: int, _frame: object) -> NoReturn:
    """Unwind: whoever started something ends it."""
    raise SystemExit(128 + number)
