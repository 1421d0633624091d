"""`agentlog trace`: what was sent because of what, and how it ended."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from consumers.cli.asked import AsJson
from consumers.cli.catching_up import WAIT_S, Wait, bring_up_to_date
from consumers.cli.kept import Store, store_url
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.session import connect
from consumers.cli.trace_views import trace_tree
from consumers.databases import Database
from consumers.index import LogIndex
from consumers.read_models import Generations
from consumers.tracing import Trace, Tracer
from consumers.tracing.document import trace_document
from consumers.tracing.page import trace_page
from streams.errors import ConfigurationError, LogError
from streams.kafka.lookup import KafkaLookup
from streams.kafka.reader import KafkaLogReader


def trace(
    asked: Annotated[str, typer.Argument(metavar="CORRELATION|MESSAGE_ID")],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write one page of HTML, too.")
    ] = None,
    wait: Wait = WAIT_S,
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
        behind = bring_up_to_date(session, reader, generations, wait)
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
