"""`agentlog registry start|stop|status`: the embedded schema registry that keeps its data."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from consumers.cli.broker import download_progress
from consumers.cli.output import emit
from streams.brokers.apicurio import RegistryInstance, RegistryState
from streams.brokers.apicurio.launch import answers
from streams.brokers.embedded import DEFAULT_NAME, Stopped

app = typer.Typer(
    no_args_is_help=True, help="The embedded schema registry (Apicurio): start, find, stop it."
)

Name = Annotated[str, typer.Option(help="Which registry: each name has data of its own.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command()
def start(
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port on 127.0.0.1; default: the last one, or free."),
    ] = None,
    name: Name = DEFAULT_NAME,
    json_: Json = False,
) -> None:
    """Start the registry, or find the one that already runs. It stays until `registry stop`."""
    instance = RegistryInstance.named(name)
    with download_progress("the registry") as progress:
        began = time.monotonic()
        started = instance.start(port=port, keep=True, progress=progress)
    if json_:
        emit(_facts(name, instance, started.state) | {"already_running": started.found})
        return
    took_s = time.monotonic() - began
    how = "already runs" if started.found else f"started in {took_s:.1f} s"
    typer.echo(f"Apicurio {started.state.apicurio_version} {how}: {started.state.url}")
    typer.echo(f"log: {started.state.layout.server_log}", err=True)


@app.command()
def stop(name: Name = DEFAULT_NAME, json_: Json = False) -> None:
    """Stop the registry and wait until it is gone. Its data stays."""
    how = RegistryInstance.named(name).stop()
    if json_:
        emit({"name": name, "stopped": how is not Stopped.NOT_RUNNING, "how": how.value})
    elif how is Stopped.NOT_RUNNING:
        typer.echo(f"registry {name} was not running")
    elif how is Stopped.CLEAN:
        typer.echo(f"registry {name} stopped")
    else:
        typer.echo(
            f"registry {name} did not end in time and was killed; what it had registered is kept"
        )


@app.command()
def status(name: Name = DEFAULT_NAME, json_: Json = False) -> None:
    """Say whether the registry runs, and where."""
    instance = RegistryInstance.named(name)
    state = instance.find()
    if json_:
        emit(_facts(name, instance, state))
    elif state is None:
        typer.echo(f"registry {name} is not running; start it with `agentlog registry start`")
    else:
        how = "runs" if answers(state.layout) else "does not answer"
        typer.echo(f"registry {name} {how}: {state.url} (Apicurio {state.apicurio_version})")
        typer.echo(f"since {state.started_at:%Y-%m-%d %H:%M:%S} UTC, pid {state.process.pid}")
        typer.echo(f"log: {state.layout.server_log}")


def _facts(name: str, instance: RegistryInstance, state: RegistryState | None) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "name": name,
        "running": state is not None,
        "data": str(instance.folder),
    }
    if state is not None:
        facts |= {
            "answers": answers(state.layout),
            "url": state.url,
            "port": state.port,
            "pid": state.process.pid,
            "log": str(state.layout.server_log),
            "apicurio_version": state.apicurio_version,
            "started_at": state.started_at.isoformat(),
            "uptime_s": round((datetime.now(UTC) - state.started_at).total_seconds(), 3),
        }
    return facts
