"""`agentlog replay`: rebuild a state from the log alone, at any cut."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from consumers.cli.output import emit, stderr, stdout
from consumers.cli.session import connect
from consumers.cli.views import metrics_table, plain_table, state_table
from consumers.projections import AgentState, Filters, Metrics, Projection
from consumers.references import load_reference
from consumers.replay import Replayed
from consumers.replay import replay as run_replay
from streams.errors import ConfigurationError, LogError
from streams.kafka.reader import KafkaLogReader
from streams.kafka.schema_topic import SchemaTopic
from streams.moments import resolve_at
from streams.schemas import Codec
from streams.session import Session, load_catalogue
from streams.settings import Settings
from streams.topics import Namespace

app = typer.Typer(help="Rebuild a state from the log alone.", no_args_is_help=True)

At = Annotated[
    str,
    typer.Option(
        "--at",
        metavar="MOMENT",
        help="now, an RFC 3339 time, -15m, @FILE or cut1:…; times are append times.",
    ),
]
Agent = Annotated[str | None, typer.Option("--agent", help="Only what this agent sent or got.")]
Origin = Annotated[
    str | None,
    typer.Option("--origin", help="Only imports whose origin begins so, as in import:large."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
def state(
    agent: Agent = None, at: At = "now", origin: Origin = None, json_: AsJson = False
) -> None:
    """What the log knows of every agent, or of one."""
    replayed, view = _replayed(AgentState(), at, Filters(agent=agent, origin=origin))
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
    agent: Agent = None, at: At = "now", origin: Origin = None, json_: AsJson = False
) -> None:
    """What was sent, how it ended, how long it took (S3.18)."""
    replayed, view = _replayed(Metrics(), at, Filters(agent=agent, origin=origin))
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
    json_: AsJson = False,
) -> None:
    """A projection of your own; --json prints exactly its view."""
    _, view = _replayed(load_projection(reference), at, Filters(agent=agent, origin=origin))
    if json_:
        emit(view)
    else:
        stdout.print(plain_table(reference, view))


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
    topics = session.namespace.topics(projection.topics)
    with KafkaLogReader(session.bootstrap_servers) as reader:
        cut = resolve_at(reader, topics, at, time.time_ns() // 1_000_000)
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
