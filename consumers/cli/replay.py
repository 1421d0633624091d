"""`agentlog replay`: rebuild a state from the log alone, at any cut."""

from __future__ import annotations

import time
from collections.abc import Mapping
from difflib import get_close_matches
from functools import partial
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from consumers.cli.cut import read_named
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.session import connect
from consumers.cli.views import metrics_table, plain_table, state_table
from consumers.projections import AgentState, Filters, Metrics, Projection
from consumers.references import load_reference
from consumers.replay import Replayed
from consumers.replay import replay as run_replay
from streams.envelope import Kind
from streams.errors import ConfigurationError, LogError
from streams.kafka.cuts import NamedCuts
from streams.kafka.reader import KafkaLogReader
from streams.kafka.schema_topic import SchemaTopic
from streams.moments import At as MomentAt
from streams.moments import parse_moment, resolve_at
from streams.schemas import Catalogue, Codec
from streams.session import Session, load_catalogue
from streams.settings import Settings
from streams.topics import Namespace

app = typer.Typer(help="Rebuild a state from the log alone.", no_args_is_help=True)

At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="MOMENT",
        help="now, an RFC 3339 time, -15m, @NAME, @./FILE or cut1:…; times are append times.",
    ),
]
Agent = Annotated[str | None, typer.Option("--agent", help="Only what this agent sent or got.")]
Origin = Annotated[
    str | None,
    typer.Option("--origin", help="Only imports whose origin begins so, as in import:large."),
]
Key = Annotated[str | None, typer.Option("--key", help="Only records with this key.")]
Correlation = Annotated[
    str | None, typer.Option("--correlation", help="Only this correlation, by its id.")
]
Channel = Annotated[str | None, typer.Option("--channel", help="Only this channel.")]
Type = Annotated[
    str | None, typer.Option("--type", help="Only this payload type (full or last name) or kind.")
]
CreatedFrom = Annotated[
    str | None,
    typer.Option("--created-after", metavar="TIME", help="Event time: RFC 3339, or -1d."),
]
CreatedTo = Annotated[
    str | None,
    typer.Option("--created-before", metavar="TIME", help="Event time: RFC 3339, or -1d."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
def state(
    agent: Agent = None,
    at: At = "now",
    origin: Origin = None,
    key: Key = None,
    correlation: Correlation = None,
    channel: Channel = None,
    type_: Type = None,
    created_after: CreatedFrom = None,
    created_before: CreatedTo = None,
    json_: AsJson = False,
) -> None:
    """What the log knows of every agent, or of one."""
    filters = filters_of(
        agent, origin, key, correlation, channel, type_, created_after, created_before
    )
    replayed, view = _replayed(AgentState(), at, filters)
    agents: Mapping[str, Any] = view["agents"]
    if agent is not None:
        if agent not in agents:
            raise LogError(f"no agent {agent!r} sent or was sent anything up to this cut")
        agents = {agent: agents[agent]}
    if json_:
        emit({**_facts(replayed), "agents": agents})
    else:
        stdout.print(state_table(agents))


@app.command()
def metrics(
    agent: Agent = None,
    at: At = "now",
    origin: Origin = None,
    key: Key = None,
    correlation: Correlation = None,
    channel: Channel = None,
    type_: Type = None,
    created_after: CreatedFrom = None,
    created_before: CreatedTo = None,
    json_: AsJson = False,
) -> None:
    """What was sent, how it ended, how long it took (S3.18)."""
    filters = filters_of(
        agent, origin, key, correlation, channel, type_, created_after, created_before
    )
    replayed, view = _replayed(Metrics(), at, filters)
    if json_:
        emit({**_facts(replayed), **view})
    else:
        stdout.print(metrics_table(view))


@app.command()
def projection(
    reference: Annotated[str, typer.Argument(metavar="MODULE:NAME")],
    agent: Agent = None,
    at: At = "now",
    origin: Origin = None,
    key: Key = None,
    correlation: Correlation = None,
    channel: Channel = None,
    type_: Type = None,
    created_after: CreatedFrom = None,
    created_before: CreatedTo = None,
    json_: AsJson = False,
) -> None:
    """A projection of your own; --json prints exactly its view."""
    filters = filters_of(
        agent, origin, key, correlation, channel, type_, created_after, created_before
    )
    _, view = _replayed(load_projection(reference), at, filters)
    if json_:
        emit(view)
    else:
        stdout.print(plain_table(reference, view))


def filters_of(
    agent: str | None,
    origin: str | None,
    key: str | None,
    correlation: str | None,
    channel: str | None,
    type_: str | None,
    created_after: str | None,
    created_before: str | None,
) -> Filters:
    """What a command line asks for. Raises `ConfigurationError` for what is no time."""
    now_ms = time.time_ns() // 1_000_000

    def moment(text: str | None) -> int | None:
        if text is None:
            return None
        found = parse_moment(text, now_ms)
        if not isinstance(found, MomentAt):
            raise ConfigurationError(
                f"{text!r} is no time that an event can have; write RFC 3339, or -1d"
            )
        return found.epoch_ms * 1000

    return Filters(
        agent=agent,
        origin=origin,
        key=key,
        correlation=correlation,
        channel=channel,
        type=type_,
        created_from=moment(created_after),
        created_to=moment(created_before),
    )


def require_known_type(catalogue: Catalogue, asked: str | None) -> None:
    """Raise `ConfigurationError` for a type or kind that nobody here knows."""
    known = {*catalogue.types, *(name.rpartition(".")[2] for name in catalogue.types), *Kind}
    if asked is not None and asked not in known:
        near = get_close_matches(asked, map(str, known), n=1)
        hint = f"; did you mean {near[0]}?" if near else "; `agentlog schemas list` has them all"
        raise ConfigurationError(f"no payload type or kind is called {asked!r}{hint}")


def load_projection(name: str) -> Projection[Any]:
    """`state`, `metrics`, or the projection that MODULE:NAME refers to."""
    if name in {"state", "metrics"}:
        return AgentState() if name == "state" else Metrics()
    found: Any = load_reference(name)
    lacking = [
        part
        for part in ("name", "version", "topics", "initial", "apply", "merge", "view")
        if not hasattr(found, part)
    ]
    if lacking:
        raise ConfigurationError(f"{name} is no projection: it has no {', '.join(lacking)}")
    return found  # type: ignore[no-any-return]  # a user's own object; checked above


def open_codec(settings: Settings, bootstrap_servers: str) -> Codec:
    """The codec as `connect` makes it, for a process of its own."""
    source = SchemaTopic(bootstrap_servers, Namespace(settings.namespace))
    return Codec(load_catalogue(settings), [source])


def _replayed(
    projection: Projection[Any], at: str, filters: Filters
) -> tuple[Replayed[Any], Mapping[str, Any]]:
    session = connect()
    require_known_type(session.codec.catalogue, filters.type)
    topics = session.namespace.topics(projection.topics)
    with KafkaLogReader(session.bootstrap_servers) as reader:
        named = NamedCuts(reader, session.namespace, session.codec)
        cut = resolve_at(reader, topics, at, time.time_ns() // 1_000_000, read_named(named))
        with _progress() as progress:
            task = progress.add_task(f"replay {projection.name}", total=None)
            replayed = run_replay(
                projection,
                reader=reader,
                namespace=session.namespace,
                codec=session.codec,
                cut=cut,
                filters=filters,
                open_codec=_codec_opener(session),
                on_progress=lambda done, total: progress.update(task, completed=done, total=total),
            )
    _tell(replayed)
    return replayed, projection.view(replayed.state)


def _codec_opener(session: Session) -> partial[Codec]:
    return partial(open_codec, session.settings, session.bootstrap_servers)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=stderr,
        transient=True,
    )


def _tell(replayed: Replayed[Any]) -> None:
    stderr.print(
        f"{replayed.records:,} records in {replayed.seconds:.2f} s ({replayed.per_s:,.0f}/s)\n"
        f"digest {replayed.digest}",
        soft_wrap=True,
        style="dim",
    )
    if replayed.tally.undecodable:
        stderr.print(
            f"{replayed.tally.undecodable} records could not be decoded; "
            f"first: {replayed.tally.first_undecodable}",
            style="yellow",
            markup=False,
        )


def _facts(replayed: Replayed[Any]) -> dict[str, Any]:
    return {
        "digest": replayed.digest,
        "cut": replayed.cut.encode(),
        "records": replayed.records,
        "undecodable": replayed.tally.undecodable,
        "seconds": round(replayed.seconds, 3),
    }
