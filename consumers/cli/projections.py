"""`agentlog projections`: keep a projection's state or a read model's rows live, look at them."""

from __future__ import annotations

import signal
import threading
from contextlib import closing
from typing import Any

import sqlalchemy as sa
import typer
from rich import box
from rich.table import Table

from consumers.cli.asked import AsJson
from consumers.cli.kept import Name, Store, load_kept, load_read_model, store_url
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.progress import following
from consumers.cli.session import connect
from consumers.cli.views import metrics_table, plain_table, state_table
from consumers.databases import Database
from consumers.live import ProjectionRunner
from consumers.projections import Projection
from consumers.read_models import Generations, ReadModel, ReadModelRunner, View, read_live
from consumers.read_models import rebuild as rebuild_rows
from consumers.state_store import SqlStateStore, live_snapshot
from streams.digest import digest
from streams.kafka.reader import KafkaLogReader
from streams.session import Session, read_settings
from streams.topics import Namespace

app = typer.Typer(help="Keep a projection live, in a database.", no_args_is_help=True)


@app.command()
def run(name: Name, store: Store = None) -> None:
    """Fold the log as it grows, until SIGTERM or Ctrl-C. Start more to share the work."""
    kept = load_kept(name)
    session = connect()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    url = store_url(store, kept)
    if isinstance(kept, ReadModel):
        with closing(Database(url)) as database:
            _run_rows(kept, session, database, stop)
    else:
        with closing(SqlStateStore(url)) as states:
            _run_states(kept, session, states, stop)


@app.command()
def show(name: Name, store: Store = None, json_: AsJson = False) -> None:
    """What is stored now: a state with its digest, or how many rows; and the cut it is of."""
    kept = load_kept(name)
    namespace = Namespace(read_settings().namespace)
    url = store_url(store, kept)
    if isinstance(kept, ReadModel):
        with closing(Database(url)) as database:
            _show_rows(Generations(database, kept, namespace.name), json_=json_)
    else:
        with closing(SqlStateStore(url)) as states:
            _show_state(name, kept, namespace, states, json_=json_)


@app.command()
def rebuild(name: Name, store: Store = None, json_: AsJson = False) -> None:
    """Make a read model's rows anew beside the live ones, then swap: reads never stop.

    One that was killed goes on where it was.
    """
    model = load_read_model(name)
    session = connect()
    with (
        closing(Database(store_url(store, model))) as database,
        KafkaLogReader(session.bootstrap_servers) as reader,
        following(f"rebuild {model.name}") as on_progress,
    ):
        done = rebuild_rows(
            Generations(database, model, session.namespace.name),
            reader=reader,
            namespace=session.namespace,
            codec=session.codec,
            on_progress=on_progress,
        )
    if json_:
        emit(
            {
                "generation": done.generation,
                "cut": done.cut.encode(),
                "resumed": done.resumed,
                "records": done.tally.records,
                "undecodable": done.tally.undecodable,
                "dropped": done.dropped,
            }
        )
        return
    stdout.print(
        f"{model.name} is now generation {done.generation}: {done.tally.records:,} records"
        f"{', the rest was there already' if done.resumed else ''}"
    )


def _run_states(
    projection: Projection[Any], session: Session, states: SqlStateStore, stop: threading.Event
) -> None:
    runner = ProjectionRunner(
        projection,
        bootstrap_servers=session.bootstrap_servers,
        namespace=session.namespace,
        codec=session.codec,
        store=states,
    )
    stderr.print(f"projection {projection.name} runs as a member of {runner.group}")
    runner.run(stop)


def _run_rows(
    model: ReadModel, session: Session, database: Database, stop: threading.Event
) -> None:
    runner = ReadModelRunner(
        Generations(database, model, session.namespace.name),
        bootstrap_servers=session.bootstrap_servers,
        namespace=session.namespace,
        codec=session.codec,
    )
    stderr.print(f"read model {model.name} runs as a member of {runner.group}")
    runner.run(stop)


def _show_state(
    name: str,
    projection: Projection[Any],
    namespace: Namespace,
    states: SqlStateStore,
    *,
    json_: bool,
) -> None:
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


def _show_rows(generations: Generations, *, json_: bool) -> None:
    def ask(view: View) -> dict[str, Any]:
        counts = {
            name: view.connection.execute(
                sa.select(sa.func.count()).select_from(table)
            ).scalar_one()
            for name, table in view.tables.items()
        }
        return {
            "model": generations.model.name,
            "version": view.generation.version,
            "generation": view.generation.number,
            "rows": counts,
            "positions": sum(view.cut.ends.values()) if view.cut is not None else 0,
            "cut": view.cut.encode() if view.cut is not None else None,
        }

    found = read_live(generations, ask)
    if json_:
        emit(found)
        return
    table = Table(found["model"], "rows", box=box.SIMPLE_HEAD)
    for name, count in found["rows"].items():
        table.add_row(name, f"{count:,}")
    stdout.print(table)
    stderr.print(
        f"version {found['version']}, generation {found['generation']}, "
        f"{found['positions']:,} positions\ncut    {found['cut']}",
        soft_wrap=True,
        style="dim",
    )
