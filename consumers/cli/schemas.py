"""`agentlog schemas`: the event types, the lock of their ids, and what reviews them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final

import typer
from rich import box
from rich.table import Table

from consumers.cli.on_demand import OnDemand
from consumers.cli.output import emit, stderr, stdout
from consumers.revisions import NotThereYet, folder_at
from streams.errors import ProofFailed
from streams.schemas import EventType
from streams.schemas.catalogue import update_lock
from streams.schemas.folders import SchemaFolder, builtin_folder
from streams.schemas.lock import LOCK_FILE, read_lock, require_kept
from streams.schemas.subjects import Subject
from streams.session import load_catalogue, read_settings
from streams.settings import Settings


class _Commands(OnDemand):
    commands_at: ClassVar = {
        "check": "schemas_check:check",
        "diff": "schemas_diff:diff",
        "docs": "schemas_docs:docs",
        "lint": "schemas_lint:lint",
        "review": "schemas_review:review_command",
        "sync": "schemas_sync:sync",
    }


app = typer.Typer(cls=_Commands, no_args_is_help=True, help="Event types, their schemas and ids.")

_WIDE: Final = 105
"""Columns of a terminal that has room for modes and owners."""

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command(name="list")
def list_(json_: Json = False) -> None:
    """List the event types with kind, version and id, compatibility mode and owner.

    Mode and owner are what the folder's subjects.toml says; a folder without one has none.
    """
    settings = read_settings()
    types = load_catalogue(settings).types.values()
    subjects = _subjects(settings)
    if json_:
        emit({"types": [_facts(event, subjects.get(event.name)) for event in types]})
        return
    names = ["type", "kind", "version", "id", "mode", "owner"]
    shown = names if stdout.width >= _WIDE else names[:4]
    table = Table(*shown, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for event in types:
        subject = subjects.get(event.name)
        cells = (
            f"{event.name} (deprecated)" if subject and subject.deprecated else event.name,
            event.kind,
            str(event.version),
            str(event.schema_id),
            subject.mode if subject else "–",
            subject.owner if subject else "–",
        )
        table.add_row(*cells[: len(shown)])
    stdout.print(table)
    if shown != names:
        stderr.print("mode and owner: in a wider terminal, or with --json", style="dim")


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
    base: Annotated[
        str | None,
        typer.Option(
            "--base", metavar="REF", help="Refuse ids that are not as at this revision of git."
        ),
    ] = None,
) -> None:
    """Give new and changed schemas an id. Commit what it writes; nothing is ever renumbered."""
    where = folder or read_settings().schemas_dir or builtin_folder()
    if base is not None:
        # Before its first commit a folder had released nothing.
        with suppress(NotThereYet), folder_at(where, base) as copied:
            require_kept(where / LOCK_FILE, read_lock(where), read_lock(copied))
    added = update_lock(where, dry_run=check)
    for entry in added:
        stdout.print(f"{entry.type} v{entry.version} → {entry.id}")
    if added and check:
        raise ProofFailed(f"{where} has changes that are not locked; run `agentlog schemas lock`")
    if not added:
        stdout.print("nothing to lock")


def _subjects(settings: Settings) -> dict[str, Subject]:
    paths = [builtin_folder(), *([settings.schemas_dir] if settings.schemas_dir else [])]
    folders = [SchemaFolder(path) for path in paths]
    return {one.type: one for folder in folders if folder.has_subjects for one in folder.subjects}


def _facts(event: EventType, subject: Subject | None) -> dict[str, Any]:
    return {
        "type": event.name,
        "family": event.family,
        "kind": event.kind,
        "version": event.version,
        "id": event.schema_id,
        "subject": event.subject,
        "aliases": event.aliases,
        "mode": subject.mode if subject else None,
        "owner": subject.owner if subject else None,
        "deprecated": subject.deprecated if subject else None,
    }
