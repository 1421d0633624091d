"""`agentlog dlq list|show|redrive|drop`: what could not be handled, and what becomes of it."""

from __future__ import annotations

import sys
from collections import deque
from typing import Annotated, Final

import typer

from consumers.cli.dlq_resolving import Resolving, Search, nothing, warn_of_strangers
from consumers.cli.dlq_views import entry_document, list_table, show_document, show_view
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.session import connect
from consumers.dead_letters import DeadLetters, Entry, Place, parse_place
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

Places = Annotated[
    list[str] | None,
    typer.Argument(metavar="[POSITION]...", help="As in 'tasks.dlq[0]@12'; or filters."),
]
Topic = Annotated[str | None, typer.Option("--topic", help="From this topic, as in tasks.")]
Group = Annotated[str | None, typer.Option("--group", "-g", help="Of this group.")]
Type = Annotated[
    str | None, typer.Option("--type", help="Payload type (full or last name) or kind.")
]
Error = Annotated[str | None, typer.Option("--error", help="Error's name, as in TimeoutError.")]
Agent = Annotated[
    str | None, typer.Option("--agent", help="Sent by, to, or handled as this agent.")
]
Correlation = Annotated[str | None, typer.Option("--correlation", help="This correlation_id.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="MOMENT", help="Dead since then: -15m, RFC 3339, @FILE."),
]
Until = Annotated[str | None, typer.Option("--until", metavar="MOMENT", help="Dead by then.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Stop after the plan.")]
AllOpen = Annotated[bool, typer.Option("--all-open", help="All that are open.")]


@app.command(name="list")
def list_(
    topic: Topic = None,
    group: Group = None,
    type_: Type = None,
    error: Error = None,
    agent: Agent = None,
    correlation: Correlation = None,
    since: Since = None,
    until: Until = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also those redriven or dropped, with their notes.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="The latest so many.")
    ] = None,
    json_: Json = False,
) -> None:
    """List the dead letters that are open, the latest last."""
    search = Search(topic, group, type_, error, agent, correlation, since, until)
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
def redrive(
    positions: Places = None,
    topic: Topic = None,
    group: Group = None,
    type_: Type = None,
    error: Error = None,
    agent: Agent = None,
    correlation: Correlation = None,
    since: Since = None,
    until: Until = None,
    all_open: AllOpen = False,
    again: Annotated[
        bool, typer.Option("--again", help="Also those that were redriven or dropped already.")
    ] = False,
    note: Annotated[str, typer.Option("--note", help="Why, in words.")] = "",
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="The first so many.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json_: Json = False,
) -> None:
    """Send dead letters back to their topic, for the group and the handlers that failed."""
    search = Search(topic, group, type_, error, agent, correlation, since, until)
    places = _places(positions, search, all_open=all_open)
    _require_answer(yes=yes, dry_run=dry_run)
    Resolving(REDRIVEN, note, yes=yes, dry_run=dry_run, json_=json_).run(
        search, places, again=again, limit=limit
    )


@app.command()
def drop(
    note: Annotated[str, typer.Option("--note", help="Why, in words.")],
    positions: Places = None,
    topic: Topic = None,
    group: Group = None,
    type_: Type = None,
    error: Error = None,
    agent: Agent = None,
    correlation: Correlation = None,
    since: Since = None,
    until: Until = None,
    all_open: AllOpen = False,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, help="The first so many.")
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    json_: Json = False,
) -> None:
    """Close dead letters for good: they stay on the log, and the list no longer shows them."""
    if not note.strip():
        raise ConfigurationError("--note is empty; say why they are dropped")
    search = Search(topic, group, type_, error, agent, correlation, since, until)
    places = _places(positions, search, all_open=all_open)
    _require_answer(yes=yes, dry_run=dry_run)
    Resolving(DROPPED, note, yes=yes, dry_run=dry_run, json_=json_).run(
        search, places, again=False, limit=limit
    )


def _places(positions: list[str] | None, search: Search, *, all_open: bool) -> list[Place]:
    """The positions given, once it is clear what was meant."""
    ways = [bool(positions), search.given, all_open]
    if not any(ways):
        raise ConfigurationError("name positions, give filters, or say --all-open")
    if positions and (search.given or all_open):
        raise ConfigurationError("give positions, or filters and --all-open, not both")
    namespace = Namespace(read_settings().namespace)
    return [parse_place(text, namespace) for text in positions or ()]


def _require_answer(*, yes: bool, dry_run: bool) -> None:
    if not (yes or dry_run or sys.stdin.isatty()):
        raise ConfigurationError(
            "nobody can be asked, stdin is no terminal: --yes carries it out, --dry-run shows "
            "the plan"
        )
