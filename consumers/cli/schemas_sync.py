"""`agentlog schemas sync`: the files' versions and a schema registry's, each added to the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consumers.cli.output import emit, stderr
from streams.errors import ProofFailed
from streams.registries.client import RegistryClient
from streams.registries.plan import Pull, Push, SetLevel, SyncPlan, plan
from streams.registries.syncing import carry_out, read_sides
from streams.session import read_settings
from streams.topics import Namespace


def sync(
    registry: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Its Confluent API; default: AGENTLOG_REGISTRY_URL."),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            help="Your schemas-avro/, where what the registry has more goes; default: "
            "AGENTLOG_SCHEMAS_DIR.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the plan.")] = False,
) -> None:
    """Give a registry the versions that it lacks, and the folder those that it lacks.

    Nothing is ever overwritten: where both sides went on, exit code 1 says so.
    """
    settings = read_settings()
    namespace, where = Namespace(settings.namespace), folder or settings.schemas_dir
    done: list[dict[str, Any]] = []

    def tell(action: Push | Pull | SetLevel, schema_id: int | None) -> None:
        if isinstance(action, Push):
            facts = {"subject": action.subject, "version": action.version, "id": schema_id}
            done.append({"type": action.type, **facts})

    with RegistryClient.open(settings, registry) as client:
        todo = plan(read_sides(client, where, namespace))
        if not json_ or not yes:
            _show(todo)
        wanted = bool(todo.actions) and not dry_run
        if wanted and not yes:
            typer.confirm("Carry this out?", abort=True, err=True)
        if wanted:
            carry_out(todo, client, where, tell)
    if json_:
        facts = {"registry": client.url, "namespace": namespace.name, **todo.to_dict()}
        emit(facts | {"applied": wanted, "registered": done})
    elif wanted:
        stderr.print(f"{len(todo.actions)} changes carried out")
    if todo.differ:
        raise ProofFailed(
            f"{len(todo.differ)} subjects are not the same on both sides, and nothing was done "
            "about them"
        )


def _show(todo: SyncPlan) -> None:
    for action in todo.actions:
        stderr.print(str(action), markup=False, soft_wrap=True)
    for name, why in todo.differ.items():
        stderr.print(f"differs: {name}: {why}", style="red", markup=False, soft_wrap=True)
    for note in todo.notes:
        stderr.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    if todo.in_sync:
        stderr.print(f"{todo.subjects} subjects are the same on both sides")
