"""`agentlog dlq list|show|redrive|drop`: what could not be handled, and what becomes of it."""

from __future__ import annotations

from collections import deque
from typing import Annotated, Final

import typer

from consumers.cli.dlq_options import Choice, Json, Search, spread
from consumers.cli.dlq_resolving import Resolving, nothing, warn_of_strangers
from consumers.cli.dlq_views import entry_document, list_table, show_document, show_view
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.session import connect
from consumers.dead_letters import DeadLetters, Entry, parse_place
from streams.dead_letters import DROPPED, REDRIVEN
from streams.errors import ConfigurationError
from streams.kafka.reader import KafkaLogReader
from streams.session import read_settings
from streams.topics import Namespace

ROWS_MAX: Final = 50
"""Rows of the table unless `--limit` says otherwise."""
DOCUMENTS_MAX: Final = 10_000
"""Dead letters in a list's JSON unless `--limit` says otherwise."""

app = typer.Typer(
    no_args_is_help=True, help="What could not be handled: look at it, redrive it, drop it."
)


@app.command(name="list")
@spread
def list_(
    search: Search,
    all_: Annotated[
        bool, typer.Option("--all", help="Also those redriven or dropped, with their notes.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="The latest so many.")
    ] = None,
    json_: Json = False,
) -> None:
    """List the dead letters that are open, the latest last."""
    session = connect()
    with KafkaLogReader(session.bootstrap_servers) as reader:
        letters = DeadLetters(reader, session.codec, session.namespace)
        shown: deque[Entry] = deque(maxlen=limit or (DOCUMENTS_MAX if json_ else ROWS_MAX))
        total = 0
        for entry in search.run(letters):
            if all_ or entry.resolution is None:
                shown.append(entry)
                total += 1
    search.check_group(session, letters)
    if json_:
        emit(
            {
                "dead_letters": [entry_document(session.namespace, entry) for entry in shown],
                "total": total,
                "no_dead_letters": letters.strangers,
            }
        )
        return
    if shown:
        stdout.print(list_table(session.namespace, shown, notes=all_))
    else:
        stderr.print(nothing(letters, all_=all_), soft_wrap=True)
    if total > len(shown):
        stderr.print(f"and {total - len(shown):,} earlier ones; --limit shows more")
    warn_of_strangers(letters)


@app.command()
def show(
    position: Annotated[str, typer.Argument(metavar="POSITION", help="As in 'tasks.dlq[0]@12'.")],
    json_: Json = False,
) -> None:
    """Show everything about one dead letter: why it died, what it is, what was decided."""
    place = parse_place(position, Namespace(read_settings().namespace))
    session = connect()
    with KafkaLogReader(session.bootstrap_servers) as reader:
        letters = DeadLetters(reader, session.codec, session.namespace)
        (entry,) = letters.at([place])
        record = letters.record_at(place)
        history = letters.resolutions.history(place)
        document = show_document(session.namespace, entry, record, history, session.codec)
    if json_:
        emit(document)
    else:
        stdout.print(show_view(document), soft_wrap=False)


@app.command()
@spread
def redrive(
    search: Search,
    choice: Choice,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were redriven or dropped already.")
    ] = False,
    note: Annotated[str, typer.Option("--note", help="Why, in words.")] = "",
) -> None:
    """Send dead letters back to their topic, for the group and the handlers that failed."""
    Resolving(REDRIVEN, note, search, choice).run(again=again)


@app.command()
@spread
def drop(
    search: Search,
    choice: Choice,
    note: Annotated[str, typer.Option("--note", help="Why, in words.")],
) -> None:
    """Close dead letters for good: they stay on the log, and the list no longer shows them."""
    if not note.strip():
        raise ConfigurationError("--note is empty; say why they are dropped")
    Resolving(DROPPED, note, search, choice).run()
