"""`agentlog broker start|stop|status|logs`: the embedded Kafka that keeps its data."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from consumers.cli.output import emit, stderr
from streams.brokers.embedded import DEFAULT_NAME, BrokerState, Instance, Stopped
from streams.brokers.provider import Progress as Report
from streams.errors import BrokerError

app = typer.Typer(no_args_is_help=True, help="The embedded Kafka: start, find, stop it.")

Name = Annotated[str, typer.Option(help="Which broker: each name has data of its own.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]

_FOLLOW_POLL_S = 0.2


@app.command()
def start(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port on 127.0.0.1; default: the last one, or free."),
    ] = None,
    name: Name = DEFAULT_NAME,
    json_: Json = False,
) -> None:
    """Start the broker, or find the one that already runs. It stays until `broker stop`."""
    instance = Instance.named(name)
    with download_progress() as progress:
        began = time.monotonic()
        started = instance.start(port=port, keep=True, progress=progress)
    if json_:
        emit(_facts(name, instance, started.state) | {"already_running": started.found})
        return
    how = "already runs" if started.found else f"started in {time.monotonic() - began:.1f} s"
    typer.echo(f"Kafka {started.state.kafka_version} {how}: {started.state.bootstrap_servers}")
    typer.echo(f"log: {instance.log_file()}", err=True)


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
    """Say whether the broker runs, and where."""
    instance = Instance.named(name)
    state = instance.find()
    if json_:
        emit(_facts(name, instance, state))
    elif state is None:
        typer.echo(f"broker {name} is not running; start it with `agentlog broker start`")
    else:
        pids = ", ".join(str(process.pid) for process in state.processes)
        typer.echo(f"broker {name} runs: {state.bootstrap_servers} (Kafka {state.kafka_version})")
        typer.echo(f"pid {pids}, since {state.started_at:%Y-%m-%d %H:%M:%S} UTC")
        typer.echo(f"log: {instance.log_file()}")


@app.command()
def logs(
    name: Name = DEFAULT_NAME,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="How many to begin with.")
    ] = 50,
) -> None:
    """Print the end of the broker's log."""
    log = Instance.named(name).log_file()
    if not log.exists():
        raise BrokerError(
            f"broker {name} has no log yet: start it with `agentlog broker start --name {name}`"
        )
    try:
        for text in _tail(log, lines, follow=follow):
            sys.stdout.write(text)
            sys.stdout.flush()
    except KeyboardInterrupt:
        pass


@contextmanager
def download_progress() -> Iterator[Report]:
    """A progress bar on stderr that appears when something is downloaded, and only then."""
    columns = (
        TextColumn("downloading Kafka"),
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


def _facts(name: str, instance: Instance, state: BrokerState | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": name,
        "running": state is not None,
        "data": str(instance.folder),
        "log": str(instance.log_file()),
    }
    if state is not None:
        facts |= {
            "bootstrap_servers": state.bootstrap_servers,
            "kafka_version": state.kafka_version,
            "pids": [process.pid for process in state.processes],
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
