"""`agentlog schemas review`: what a change of schemas means, by the schemas and by the log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final, NamedTuple

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from consumers.cli.broker import download_progress
from consumers.cli.cut import read_named
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.progress import following
from consumers.cli.replaying import load_projection
from consumers.cli.schemas_diff import Folder, choose_folder
from consumers.pages import on_one_line
from consumers.reviewing.cells import BAD, GOOD, LATE, Cell, Section
from consumers.reviewing.document import document
from consumers.reviewing.gathering import REVIEWED
from consumers.reviewing.markdown import markdown
from consumers.reviewing.opening import open_sides
from consumers.reviewing.page import review_page
from consumers.reviewing.review import Review
from consumers.reviewing.reviewing import Log, Looks, review
from consumers.reviewing.sections import (
    last_sections,
    looked_at,
    notice_of,
    type_sections,
    verdict_of,
)
from consumers.reviewing.sides import Sides
from consumers.usage import reader_of
from streams.brokers.embedded import Instance
from streams.brokers.probe import describe_cluster, require_reachable
from streams.errors import LogError
from streams.kafka.cuts import NamedCuts
from streams.kafka.reader import KafkaLogReader
from streams.moments import NOW, resolve_at
from streams.schemas import Codec
from streams.session import read_settings
from streams.settings import Settings
from streams.topics import Namespace

PROBE_S: Final = 3.0
"""Seconds that a broker has to answer where nobody asked for evidence."""
_COLOURS = {GOOD: "green", LATE: "yellow", BAD: "red"}


class Format(StrEnum):
    """How a review is shown."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


class _Where(NamedTuple):
    """A broker, or why there is none."""

    servers: str
    why: str = ""


def review_command(
    base: Annotated[
        str, typer.Option("--base", metavar="REF", help="The revision of git to compare with.")
    ],
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="REF", help="The candidate; default: the files now."),
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(
            "--history", metavar="CUT", help="Read what is stored up to there: now, @NAME, cut1:…"
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option("--sample", metavar="N", min=1, help="Read about so many records instead."),
    ] = None,
    code: Annotated[
        list[str] | None,
        typer.Option(
            "--code",
            metavar="MODULE:NAME",
            help="An app, projection, read model or aggregate of yours: which fields it reads.",
        ),
    ] = None,
    projection: Annotated[
        list[str] | None,
        typer.Option(
            "--projection",
            metavar="state|metrics|MODULE:NAME",
            help="Folded under both readers; default: state and metrics.",
        ),
    ] = None,
    folder: Folder = None,
    format_: Annotated[Format, typer.Option("--format", help="How to show it.")] = Format.TEXT,
) -> None:
    """What a change of schemas means: by the schemas, and by every record that is stored.

    Exit 1 if something stands against merging: a mode that is broken, stored records that cannot be
    read or are read as another value, a type that is gone though records or readers of it are
    there, lint, workers that would not start. Each is waived by its rule in subjects.toml, but the
    last. Without a broker the schemas alone are reviewed.
    """
    where = choose_folder(folder).path
    settings = read_settings()
    with open_sides(where, base, head) as sides, _log(settings, sides, history, sample) as found:
        log, why = found
        looks = Looks(
            readers=[one for name in code or () for one in reader_of(name, sides.today)],
            projections=[load_projection(name) for name in projection or ("state", "metrics")],
            today=datetime.now(UTC).date(),
        )
        names = str(where), base, head or "the files now"
        with following("review") as on_progress:
            made = review(
                sides, names=names, log=log, without=why, looks=looks, on_progress=on_progress
            )
    _show(made, format_)
    if not made.fine:
        raise typer.Exit(1)


@contextmanager
def _log(
    settings: Settings, sides: Sides, history: str | None, sample: int | None
) -> Iterator[tuple[Log | None, str]]:
    """The log to look at; else why there is none, unless it was asked for."""
    asked = history is not None or sample is not None
    where = _broker(settings, asked=asked)
    if not where.servers:
        yield None, where.why
        return
    namespace = Namespace(settings.namespace)
    with KafkaLogReader(where.servers) as reader:
        topics = namespace.topics(REVIEWED)
        named = NamedCuts(reader, namespace, Codec(sides.known))
        now_ms = time.time_ns() // 1_000_000
        try:
            cut = resolve_at(reader, topics, history or NOW, now_ms, read_named(named))
        except LogError as error:
            if asked:
                raise
            yield None, f"{error}"
            return
        if not asked and not any(cut.ends.values()):
            yield None, f"nothing is stored in namespace {namespace.name}"
            return
        yield Log(reader, settings, cut, sample), ""


def _broker(settings: Settings, *, asked: bool) -> _Where:
    """The broker of the settings, or the embedded one; that is started only where it is asked for.

    Raises `BrokerError` where it is asked for and does not answer.
    """
    servers = settings.bootstrap_servers
    if servers is not None:
        if asked:
            require_reachable(servers)
        elif describe_cluster(servers, timeout_s=PROBE_S) is None:
            return _Where("", f"no Kafka answers at {servers}")
        return _Where(servers)
    instance = Instance.named()
    if not asked:
        state = instance.find()
        if state is None:
            return _Where("", "no broker runs; --history now starts the embedded one and reads it")
        return _Where(state.bootstrap_servers)
    with download_progress() as progress:
        return _Where(instance.start(keep=True, progress=progress).state.bootstrap_servers)


def _show(made: Review, format_: Format) -> None:
    match format_:
        case Format.JSON:
            emit(document(made))
        case Format.MARKDOWN:
            sys.stdout.write(markdown(made))
        case Format.HTML:
            sys.stdout.write(review_page(made))
        case Format.TEXT:
            _show_text(made)


def _show_text(made: Review) -> None:
    stderr.print(looked_at(made), style="dim", markup=False, soft_wrap=True)
    if notice := notice_of(made):
        stdout.print(_text(Cell(notice, LATE)), soft_wrap=True)
    for one in made.types:
        stdout.print(Text(one.change.name, "bold").append(f"  {one.state}", "dim"))
        for section in type_sections(one, looked=made.gathered is not None):
            _show_section(section)
    for section in last_sections(made):
        _show_section(section)
    verdict = verdict_of(made)
    stdout.print(_text(verdict))


def _show_section(section: Section) -> None:
    if not section.head:
        for name, *said in section.rows:
            line = Text(f"  {name.text}: ", "dim")
            stdout.print(line.append_text(Text(" ").join(map(_text, said))), soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, title=section.title or None, title_justify="left")
    for title in section.head:
        table.add_column(title, overflow="fold")
    for row in section.rows:
        table.add_row(*map(_text, row))
    stdout.print(table)


def _text(cell: Cell) -> Text:
    return Text(on_one_line(cell.text), _COLOURS.get(cell.tone, ""), overflow="fold")
