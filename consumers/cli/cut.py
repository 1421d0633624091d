"""`agentlog cut`: moments of the log, to be named and passed on."""

from __future__ import annotations

import getpass
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from consumers.cli.output import emit, stderr, stdout
from consumers.cli.session import connect
from streams.cuts import Cut
from streams.errors import ConfigurationError, LogError
from streams.headers import rfc3339
from streams.kafka.cuts import NamedCuts
from streams.kafka.reader import KafkaLogReader
from streams.moments import read_named_cut, resolve_at
from streams.record import Partition
from streams.saved_cuts import check_name
from streams.session import Session
from streams.topics import TOPICS

app = typer.Typer(help="Moments of the log: take them, name them.", no_args_is_help=True)

Topics = Annotated[
    list[str] | None,
    typer.Option("--topic", "-t", help="Only these topics; default: all that keep everything."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
_RECORD = re.compile(r"(?P<topic>[A-Za-z0-9._-]+)\[(?P<index>\d+)\]@(?P<position>\d+)")


@app.command()
def now(topics: Topics = None, json_: AsJson = False) -> None:
    """The end of the log as it is."""
    _take("now", topics, json_=json_)


@app.command()
def at(
    moment: Annotated[str, typer.Argument(metavar="MOMENT", help="RFC 3339, -15m, @NAME, …")],
    topics: Topics = None,
    json_: AsJson = False,
) -> None:
    """Everything that was appended up to and including a moment."""
    _take(moment, topics, json_=json_)


@app.command()
def of(
    record: Annotated[str, typer.Argument(metavar="RECORD", help="As in tasks[3]@1024.")],
    topics: Topics = None,
    json_: AsJson = False,
) -> None:
    """Just behind a record: its partition up to and including it, the others up to its time."""
    with _opened() as (session, reader, _):
        source, position = _place(session, record)
        names = _names(session, topics)
        if source.topic not in names:
            names = (*names, source.topic)
        begins, ends = reader.starts([source.topic]), reader.ends([source.topic]).ends
        if source not in ends:
            raise LogError(f"{source.topic} has no partition {source.index}")
        if not begins[source] <= position < ends[source]:
            raise LogError(f"{source} has positions {begins[source]} to {ends[source] - 1} now")
        found = next(
            (one for batch in reader.read(source, position, ends[source]) for one in batch), None
        )
        if found is None or found.position != position:
            raise LogError(f"{source}@{position} is no record: a marker, or aborted")
        cut = reader.ends_at(names, found.appended_at_ms)
    _show(
        Cut(
            cluster_id=cut.cluster_id,
            topic_ids=cut.topic_ids,
            ends={**cut.ends, source: position + 1},
        ),
        json_=json_,
    )


@app.command()
def save(
    name: Annotated[str, typer.Argument()],
    at: Annotated[str, typer.Option("--at", metavar="MOMENT")] = "now",
    note: Annotated[str, typer.Option("--note", help="What it is for.")] = "",
    topics: Topics = None,
    json_: AsJson = False,
) -> None:
    """Give a moment a name, on the log: `--at @NAME` means it on every machine from now on."""
    check_name(name)
    with _opened() as (session, reader, named):
        cut = _resolved(session, reader, named, at, topics)
        before = named.all().get(name)
        named.save(name, cut, note=note, sender=f"{getpass.getuser()}@{socket.gethostname()}")
    if before is not None:
        stderr.print(f"{name} meant another moment before", style="yellow", markup=False)
    stderr.print(f"saved as @{name}", markup=False)
    _show(cut, json_=json_)


@app.command(name="list")
def list_(json_: AsJson = False) -> None:
    """The cuts that have names."""
    with _opened() as (_, _, named):
        found = named.all()
    if json_:
        emit(
            {
                "cuts": [
                    {
                        "name": one.name,
                        "cut": one.cut.encode(),
                        "saved_by": one.saved_by,
                        "saved_at": rfc3339(one.saved_at),
                        "note": one.note,
                    }
                    for one in found.values()
                ]
            }
        )
        return
    table = Table("name", "saved", "by", "positions", "note", box=box.SIMPLE_HEAD)
    for one in found.values():
        positions = f"{sum(one.cut.ends.values()):,}"
        table.add_row(one.name, rfc3339(one.saved_at)[:19] + "Z", one.saved_by, positions, one.note)
    stdout.print(table if found else "no cut is saved here")


def read_named(named: NamedCuts) -> Callable[[str], str]:
    """What `@NAME` means: a saved cut, or the file, if it is written as a path."""
    return lambda name: read_named_cut(name) if "/" in name else named.named(name).encode()


def _take(moment: str, topics: list[str] | None, *, json_: bool) -> None:
    with _opened() as (session, reader, named):
        cut = _resolved(session, reader, named, moment, topics)
    _show(cut, json_=json_)


@contextmanager
def _opened() -> Iterator[tuple[Session, KafkaLogReader, NamedCuts]]:
    session = connect()
    with KafkaLogReader(session.bootstrap_servers) as reader:
        yield session, reader, NamedCuts(reader, session.namespace, session.codec)


def _resolved(
    session: Session,
    reader: KafkaLogReader,
    named: NamedCuts,
    moment: str,
    topics: list[str] | None,
) -> Cut:
    names, now_ms = _names(session, topics), time.time_ns() // 1_000_000
    return resolve_at(reader, names, moment, now_ms, read_named(named))


def _names(session: Session, topics: list[str] | None) -> tuple[str, ...]:
    """Full names. A compacted topic is a cache: no cut is of it."""
    whole = {name for name, topic in TOPICS.items() if not topic.compacted}
    for name in topics or ():
        if name not in whole:
            raise ConfigurationError(f"no topic {name!r} to cut; there are {', '.join(whole)}")
    return session.namespace.topics(tuple(topics) if topics else tuple(sorted(whole)))


def _place(session: Session, text: str) -> tuple[Partition, int]:
    found = _RECORD.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"not a record: {text!r}; write it as in tasks[3]@1024")
    topic = found["topic"]
    full = topic if topic in session.namespace else session.namespace.topic(topic)
    if session.namespace.logical(full) not in TOPICS:
        raise ConfigurationError(f"no topic {topic!r}; there are {', '.join(TOPICS)}")
    return Partition(full, int(found["index"])), int(found["position"])


def _show(cut: Cut, *, json_: bool) -> None:
    topics: dict[str, dict[str, int]] = {}
    for source, end in cut:
        topics.setdefault(source.topic, {})[str(source.index)] = end
    if json_:
        emit({"cut": cut.encode(), "cluster_id": cut.cluster_id, "ends": topics})
        return
    if stderr.is_terminal:
        table = Table("topic", "partitions", "positions", box=box.SIMPLE_HEAD)
        for topic, ends in topics.items():
            table.add_row(topic, str(len(ends)), f"{sum(ends.values()):,}")
        stderr.print(table)
    stdout.print(cut.encode(), soft_wrap=True, markup=False)
