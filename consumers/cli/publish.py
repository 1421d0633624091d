"""`agentlog publish`: a file of S3 messages onto the log, every bad line named."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from consumers.cli.output import emit, stderr
from consumers.cli.session import connect, provide_topics
from streams.errors import ProofFailed
from streams.imports import Importer, ImportResult, Phase, Progress, Source
from streams.kafka.reader import KafkaLogReader
from streams.outgoing import Outbox
from streams.ports import SystemClock
from streams.session import Session

BAD_LINES_SHOWN_MAX: Final = 50
"""Bad lines named on stderr; `--json` has them all."""

_PHASES: Final = {
    Phase.CHECK: "checking the lines",
    Phase.COMPARE: "comparing with the log",
    Phase.PUBLISH: "publishing",
}


def publish(
    file: Annotated[
        str,
        typer.Option(
            "--file", "-f", metavar="FILE", help="S3 messages: .jsonl, .jsonl.gz, or - for stdin."
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of the import: its origin is import:NAME. Default: the file's name."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Publish nothing if one line is bad.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Publish a file of messages. Exit code 1 if a line was bad; the good ones are published.

    Running it again publishes only what is not on the log yet.
    """
    source = Source(file)
    next(source.lines(), None)  # a file that cannot be read: before a broker is started for it
    session = connect()
    provide_topics(session)
    with _progress() as progress:
        result = asyncio.run(_import(session, source, name, strict, progress))
    if json_:
        emit(_facts(result))
    else:
        _report(result)
    if result.bad:
        raise ProofFailed(
            f"{len(result.bad)} of {result.read} lines are bad"
            + ("; nothing was published" if result.refused else "; the others are published")
        )


async def _import(
    session: Session, source: Source, name: str | None, strict: bool, progress: Progress
) -> ImportResult:
    settings, codec, namespace = session.settings, session.codec, session.namespace
    outbox = Outbox(
        codec,
        sender="",
        clock=SystemClock(),
        rng=random.Random(),
        record_bytes_max=settings.record_bytes_max,
        namespace=namespace,
    )
    with KafkaLogReader(session.bootstrap_servers) as reader:
        async with session.publisher() as publisher:
            importer = Importer(publisher, outbox, reader, namespace, progress=progress)
            return await importer.run(source, name=name, strict=strict)


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar per phase, on stderr."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=stderr, transient=True) as bar:
        tasks: dict[Phase, Any] = {}

        def show(phase: Phase, done: int, total: int | None) -> None:
            if phase not in tasks:
                tasks[phase] = bar.add_task(_PHASES[phase], total=total)
            bar.update(tasks[phase], completed=done, total=total)

        yield show


def _report(result: ImportResult) -> None:
    for line, reason in result.bad[:BAD_LINES_SHOWN_MAX]:
        stderr.print(f"line {line}: {reason}", markup=False, soft_wrap=True)
    if len(result.bad) > BAD_LINES_SHOWN_MAX:
        stderr.print(f"… and {len(result.bad) - BAD_LINES_SHOWN_MAX} more; --json names them all")
    stderr.print(
        f"{result.origin}: {result.read} read, {result.published} published, "
        f"{result.already_present} already present, {result.duplicates} duplicates, "
        f"{len(result.bad)} bad"
    )


def _facts(result: ImportResult) -> dict[str, Any]:
    return {
        "origin": result.origin,
        "read": result.read,
        "published": result.published,
        "already_present": result.already_present,
        "duplicates": result.duplicates,
        "bad": [{"line": line, "reason": reason} for line, reason in result.bad],
        "refused": result.refused,
    }
