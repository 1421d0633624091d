"""`agentlog trace`: what was sent because of what, and how it ended."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import Annotated, Final

import typer

from consumers.cli.kept import Store, store_url
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.progress import following
from consumers.cli.replay import AsJson
from consumers.cli.session import connect
from consumers.cli.trace_views import trace_tree
from consumers.databases import Database
from consumers.index import LogIndex
from consumers.read_models import Generations, RowKeeper, catch_up
from consumers.tracing import Trace, Tracer
from consumers.tracing.document import trace_document
from consumers.tracing.page import trace_page
from streams.errors import ConfigurationError, LogError
from streams.kafka.lookup import KafkaLookup
from streams.kafka.reader import KafkaLogReader
from streams.session import Session

WAIT_S: Final = 60.0
"""Seconds that a trace takes at most to bring the index up to date, unless told otherwise."""


def trace(
    asked: Annotated[str, typer.Argument(metavar="CORRELATION|MESSAGE_ID")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page of HTML, too.")
    ] = None,
    wait: Annotated[
        float,
        typer.Option("--wait", min=0, help="Seconds for the index to catch up with the log."),
    ] = WAIT_S,
    store: Store = None,
    json_: AsJson = False,
) -> None:
    """The tree of a correlation: who sent what to whom, how long it waited, how it ended.

    It is found by the index, which is brought up to date first; what is not in it after --wait
    seconds is not shown, and said so. `agentlog projections run index` keeps it up to date.
    """
    session = connect()
    model = LogIndex()
    with (
        closing(Database(store_url(store, model))) as database,
        KafkaLogReader(session.bootstrap_servers) as reader,
        KafkaLookup(session.bootstrap_servers) as lookup,
    ):
        generations = Generations(database, model, session.namespace.name)
        behind = _bring_up_to_date(session, reader, generations, wait)
        tracer = Tracer(generations, lookup, session.codec, session.namespace)
        found = tracer.trace(asked)
    _require_found(found, behind)
    if html is not None:
        _write(html, found)
    if json_:
        emit({**trace_document(found), "positions_behind": behind})
    else:
        stdout.print(trace_tree(found))
        if found.is_cut_short:
            stderr.print("there are more records than one trace may have", style="yellow")


def _bring_up_to_date(
    session: Session, reader: KafkaLogReader, generations: Generations, wait_s: float
) -> int:
    """How many positions of the log the index still lacks, after `wait_s` seconds at most."""
    cut = reader.ends(session.namespace.topics(generations.model.topics))
    keeper = RowKeeper(generations, session.codec)
    with following("index") as on_progress:
        if catch_up(
            keeper,
            reader,
            cut,
            deadline=time.monotonic() + wait_s,
            on_progress=on_progress,
        ):
            return 0
    stored = keeper.positions(cut)
    behind = sum(max(0, end - stored.get(source, 0)) for source, end in cut)
    if not behind:
        return 0
    stderr.print(
        f"the index is {behind:,} positions behind the log: what they hold is not shown; "
        "`agentlog projections run index` brings it up to date, or a longer --wait",
        style="yellow",
        soft_wrap=True,
    )
    return behind


def _require_found(found: Trace, behind: int) -> None:
    if found.nodes:
        return
    cut = found.cut.encode() if found.cut is not None else "the beginning"
    later = f"; the index lacks {behind:,} positions" if behind else ""
    raise LogError(f"nothing has the correlation or message id {found.asked!r} up to {cut}{later}")


def _write(file: Path, found: Trace) -> None:
    try:
        file.write_text(trace_page(found), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error}") from error
    stderr.print(f"wrote {file}", markup=False, soft_wrap=True)
