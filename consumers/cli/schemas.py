"""`agentlog schemas list|show|lock`: the event types and the lock of their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from consumers.cli.output import emit, stdout
from streams.errors import ProofFailed
from streams.schemas import EventType
from streams.schemas.catalogue import builtin_folder, update_lock
from streams.session import load_catalogue, read_settings

app = typer.Typer(no_args_is_help=True, help="Event types, their schemas and ids.")

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command(name="list")
def list_(json_: Json = False) -> None:
    """List the event types with kind, version and id."""
    types = load_catalogue(read_settings()).types.values()
    if json_:
        emit({"types": [_facts(event) for event in types]})
        return
    table = Table("type", "kind", "version", "id")
    for event in types:
        table.add_row(event.name, event.kind, str(event.version), str(event.schema_id))
    stdout.print(table)


@app.command()
def show(type_name: Annotated[str, typer.Argument(metavar="TYPE")]) -> None:
    """Print the writer schema of a type: the envelope's fields, then its payload."""
    emit(load_catalogue(read_settings()).type(type_name).writer.schema)


@app.command()
def lock(
    folder: Annotated[
        Path | None, typer.Option(help="Which schemas-avro/; default: AGENTLOG_SCHEMAS_DIR.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 if there is anything to lock.")
    ] = False,
) -> None:
    """Give new and changed schemas an id. Commit what it writes; nothing is ever renumbered."""
    where = folder or read_settings().schemas_dir or builtin_folder()
    added = update_lock(where, dry_run=check)
    for entry in added:
        stdout.print(f"{entry.type} v{entry.version} → {entry.id}")
    if added and check:
        raise ProofFailed(f"{where} has changes that are not locked; run `agentlog schemas lock`")
    if not added:
        stdout.print("nothing to lock")


def _facts(event: EventType) -> dict[str, Any]:
    return {
        "type": event.name,
        "family": event.family,
        "kind": event.kind,
        "version": event.version,
        "id": event.schema_id,
        "subject": event.subject,
        "aliases": event.aliases,
    }
