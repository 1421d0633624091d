"""`agentlog projections`: keep a projection's state live, and look at it."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import platformdirs
import typer

from consumers.cli.output import emit, stderr, stdout
from consumers.cli.replay import AsJson, load_projection
from consumers.cli.session import connect
from consumers.cli.views import metrics_table, plain_table, state_table
from consumers.live import ProjectionRunner
from consumers.state_store import SqlStateStore, live_snapshot
from streams.digest import digest
from streams.session import read_settings
from streams.topics import Namespace

app = typer.Typer(help="Keep a projection's state live.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="state|metrics|MODULE:NAME")]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="AGENTLOG_STORE",
        help="Database of the states, as SQLAlchemy names it; default: SQLite in the user's data.",
    ),
]


@app.command()
def run(name: Name, store: Store = None) -> None:
    """Fold the log as it grows, until SIGTERM or Ctrl-C. Start more to share the work."""
    projection = load_projection(name)
    session = connect()
    states = SqlStateStore(store or default_store_url())
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    runner = ProjectionRunner(
        projection,
        bootstrap_servers=session.bootstrap_servers,
        namespace=session.namespace,
        codec=session.codec,
        store=states,
    )
    stderr.print(f"projection {projection.name} runs as a member of {runner.group}")
    try:
        runner.run(stop)
    finally:
        states.close()


@app.command()
def show(name: Name, store: Store = None, json_: AsJson = False) -> None:
    """The state as it is stored now, with its digest and cut."""
    projection = load_projection(name)
    namespace = Namespace(read_settings().namespace)
    states = SqlStateStore(store or default_store_url())
    live = live_snapshot(states, projection, namespace.topics(projection.topics))
    view = projection.view(live.state)
    if json_:
        emit({"digest": digest(live.state), "cut": live.cut.encode(), **view})
        return
    if name == "metrics":
        stdout.print(metrics_table(view))
    elif name == "state":
        stdout.print(state_table(view["agents"]))
    else:
        stdout.print(plain_table(name, view))
    stderr.print(
        f"digest {digest(live.state)}\ncut    {live.cut.encode()}", soft_wrap=True, style="dim"
    )


def default_store_url() -> str:
    """A SQLite file in the user's data folder; rows are told apart by the topics' full names."""
    return f"sqlite:///{platformdirs.user_data_path('agentlog') / 'projections.sqlite'}"
