"""`agentlog broker start|stop|status|logs`: the embedded Kafka that keeps its data."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from consumers.cli.output import emit, stderr
from streams.brokers.embedded import (
    DEFAULT_NAME,
    BrokerState,
    Condition,
    Instance,
    NodeHealth,
    Started,
    Stopped,
    examine,
    is_degraded,
)
from streams.brokers.provider import Progress as Report
from streams.errors import BrokerError

app = typer.Typer(no_args_is_help=True, help="The embedded Kafka: start, find, stop it.")

Name = Annotated[str, typer.Option(help="Which broker: each name has data of its own.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]

NODES_MAX = 9

_FOLLOW_POLL_S = 0.2


@app.command()
def start(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port on 127.0.0.1; default: the last one, or free."),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=NODES_MAX,
            help="How many nodes; default: as many as there were, or one. Each takes 330 MB.",
        ),
    ] = None,
    name: Name = DEFAULT_NAME,
    json_: Json = False,
) -> None:
    """Start the broker, or find the one that already runs. It stays until `broker stop`.

    Of a cluster that runs, nodes that are gone are started again.
    """
    instance = Instance.named(name)
    with download_progress() as progress:
        began = time.monotonic()
        started = instance.start(port=port, nodes=nodes, keep=True, progress=progress)
    if json_:
        how = {"already_running": started.found, "restarted_nodes": started.restarted}
        emit(_facts(name, instance, started.state) | how)
        return
    took_s = time.monotonic() - began
    typer.echo(
        f"Kafka {started.state.kafka_version} {_how(started, took_s)}: "
        f"{started.state.bootstrap_servers}"
    )
    for node in started.state.nodes:
        typer.echo(f"log: {instance.log_file(node.node_id)}", err=True)


@app.command()
def stop(name: Name = DEFAULT_NAME, json_: Json = False) -> None:
    """Stop the broker and wait until it is gone. Its data stays."""
    how = Instance.named(name).stop()
    if json_:
        emit({"name": name, "stopped": how is not Stopped.NOT_RUNNING, "how": how.value})
    elif how is Stopped.NOT_RUNNING:
        typer.echo(f"broker {name} was not running")
    elif how is Stopped.CLEAN:
        typer.echo(f"broker {name} stopped")
    else:
        typer.echo(
            f"broker {name} did not end in time and was killed; its data recovers on next start"
        )


@app.command()
def status(name: Name = DEFAULT_NAME, json_: Json = False) -> None:
    """Say whether the broker runs, and where, node by node."""
    instance = Instance.named(name)
    state = instance.find()
    if json_:
        emit(_facts(name, instance, state))
    elif state is None:
        typer.echo(f"broker {name} is not running; start it with `agentlog broker start`")
    else:
        _show(name, state, examine(instance, state))


@app.command()
def logs(
    name: Name = DEFAULT_NAME,
    node: Annotated[int, typer.Option(min=1, help="Which node's log.")] = 1,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="How many to begin with.")
    ] = 50,
) -> None:
    """Print the end of the log of one of the broker's nodes."""
    log = Instance.named(name).log_file(node)
    if not log.exists():
        whose = f"broker {name}" if node == 1 else f"node {node} of broker {name}"
        raise BrokerError(
            f"{whose} has no log yet: start it with `agentlog broker start --name {name}`"
        )
    try:
        for text in _tail(log, lines, follow=follow):
            sys.stdout.write(text)
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass


@contextmanager
def download_progress(what: str = "Kafka") -> Iterator[Report]:
    """A progress bar on stderr that appears when something is downloaded, and only then."""
    columns = (
        TextColumn(f"downloading {what}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    bars = Progress(*columns, console=stderr, transient=True)
    task = bars.add_task("download", total=None)

    def report(done_bytes: int, total_bytes: int) -> None:
        bars.start()  # does nothing the second time
        bars.update(task, completed=done_bytes, total=total_bytes)

    try:
        yield report
    finally:
        if bars.live.is_started:
            bars.stop()


def _how(started: Started, took_s: float) -> str:
    if not started.found:
        return f"started in {took_s:.1f} s"
    if not started.restarted:
        return "already runs"
    which = ", ".join(str(node_id) for node_id in started.restarted)
    return f"already runs, and its lost node {which} was started again in {took_s:.1f} s"


def _show(name: str, state: BrokerState, nodes: Sequence[NodeHealth]) -> None:
    """The text of `status` for a broker that was started."""
    where = f"{state.bootstrap_servers} (Kafka {state.kafka_version})"
    if not is_degraded(nodes):
        typer.echo(f"broker {name} runs: {where}")
    else:
        up = sum(node.condition is Condition.UP for node in nodes)
        typer.echo(f"broker {name} is degraded, {up} of {len(nodes)} nodes are up: {where}")
    typer.echo(f"since {state.started_at:%Y-%m-%d %H:%M:%S} UTC")
    for node in nodes:
        typer.echo(
            f"node {node.node_id}: {node.condition.value}, pid {node.pid}, port {node.port}, "
            f"log {node.log}"
        )
    if any(node.condition is Condition.GONE for node in nodes):
        typer.echo(f"`agentlog broker start --name {name}` starts what is gone", err=True)


def _facts(name: str, instance: Instance, state: BrokerState | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": name,
        "running": state is not None,
        "data": str(instance.folder),
        "log": str(instance.log_file()),
    }
    if state is not None:
        nodes = examine(instance, state)
        facts |= {
            "degraded": is_degraded(nodes),
            "nodes": [
                {
                    "id": node.node_id,
                    "condition": node.condition.value,
                    "pid": node.pid,
                    "port": node.port,
                    "log": str(node.log),
                }
                for node in nodes
            ],
            "bootstrap_servers": state.bootstrap_servers,
            "kafka_version": state.kafka_version,
            "pids": [node.pid for node in nodes],
            "started_at": state.started_at.isoformat(),
            "uptime_s": round((datetime.now(UTC) - state.started_at).total_seconds(), 3),
        }
    return facts


def _tail(path: Path, lines: int, *, follow: bool) -> Iterator[str]:
    """The last `lines` lines of a file and, if asked, what is added; reopens a file that rolled."""
    file = path.open(encoding="utf-8", errors="replace")
    try:
        yield "".join(deque(file, maxlen=lines))
        while follow:
            added = file.read()
            if added:
                yield added
            elif _rolled(path, file.fileno()):
                file.close()
                file = path.open(encoding="utf-8", errors="replace")
            else:
                time.sleep(_FOLLOW_POLL_S)
    finally:
        file.close()


def _rolled(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino != os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False  # between two files
