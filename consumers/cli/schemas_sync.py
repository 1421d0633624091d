"""`agentlog schemas sync`: the files' versions and a schema registry's, each added to the other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from consumers.cli.output import emit, stderr
from streams.errors import AgentlogError, ProofFailed
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

    Nothing is ever overwritten: where both sides went on, exit code 1 says so. Where the registry
    refuses a version half way, what was registered until then stays, and is told.
    """
    settings = read_settings()
    namespace, where = Namespace(settings.namespace), folder or settings.schemas_dir
    done = _Done()
    with RegistryClient.open(settings, registry) as client:
        todo = plan(read_sides(client, where, namespace))
        if not json_ or not yes:
            _show(todo)
        wanted = bool(todo.actions) and not dry_run
        if wanted and not yes:
            typer.confirm("Carry this out?", abort=True, err=True)
        if wanted:
            done.carry_out(todo, client, where)
    if json_:
        facts = {"registry": client.url, "namespace": namespace.name, **todo.to_dict()}
        facts |= {"applied": wanted and done.failed is None, "registered": done.registered}
        emit(facts | {"stopped": done.stopped(todo)})
    elif wanted:
        stderr.print(f"{done.actions} of {len(todo.actions)} changes carried out")
    if done.failed is not None:
        raise done.failed
    if todo.differ:
        raise ProofFailed(
            f"{len(todo.differ)} subjects are not the same on both sides, and nothing was done "
            "about them"
        )


class _Done:
    """What was done of a plan, and what ended it before its end."""

    def __init__(self) -> None:
        self.actions = 0
        self.registered: list[dict[str, Any]] = []
        self.failed: AgentlogError | None = None

    def carry_out(self, todo: SyncPlan, client: RegistryClient, folder: Path | None) -> None:
        try:
            carry_out(todo, client, folder, self._tell)
        except AgentlogError as error:  # raised once it is told what was done until then
            self.failed = error

    def _tell(self, action: Push | Pull | SetLevel, schema_id: int | None) -> None:
        self.actions += 1
        if isinstance(action, Push):
            facts = {"subject": action.subject, "version": action.version, "id": schema_id}
            self.registered.append({"type": action.type, **facts})

    def stopped(self, todo: SyncPlan) -> dict[str, Any] | None:
        """The action that it ended at, and why; None: it came to its end."""
        if self.failed is None:
            return None
        return {
            "at": str(todo.actions[self.actions]),
            "why": str(self.failed),
            "carried_out": self.actions,
            "left": len(todo.actions) - self.actions,
        }


def _show(todo: SyncPlan) -> None:
    for action in todo.actions:
        stderr.print(str(action), markup=False, soft_wrap=True)
    for name, why in todo.differ.items():
        stderr.print(f"differs: {name}: {why}", style="red", markup=False, soft_wrap=True)
    for note in todo.notes:
        stderr.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    if todo.in_sync:
        stderr.print(f"{todo.subjects} subjects are the same on both sides")
