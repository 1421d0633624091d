"""`agentlog topics list|diff|apply`: the topic catalogue, and a cluster that follows it."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from consumers.cli.output import emit, stderr, stdout
from consumers.cli.session import connect
from streams.errors import ConfigurationError, ProofFailed
from streams.kafka.admin import TopicAdmin
from streams.session import read_settings
from streams.topics import TOPICS, Namespace, Topic
from streams.topics.provisioning import Plan
from streams.topics.strimzi import topic_resources

app = typer.Typer(no_args_is_help=True, help="The topic catalogue, and a cluster that follows it.")

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


@app.command(name="list")
def list_(
    json_: Json = False,
    k8s: Annotated[bool, typer.Option("--k8s", help="As Strimzi KafkaTopic resources.")] = False,
) -> None:
    """List the topics as they should be. Asks no broker."""
    namespace = Namespace(read_settings().namespace)
    if k8s:
        typer.echo(topic_resources(namespace), nl=False)
    elif json_:
        emit(
            {
                "namespace": namespace.name,
                "topics": [_facts(namespace, topic) for topic in TOPICS.values()],
            }
        )
    else:
        table = Table("topic", "key", "partitions", "keeps", box=box.SIMPLE_HEAD)
        for topic in TOPICS.values():
            table.add_row(
                namespace.topic(topic.name),
                topic.key,
                str(topic.partitions),
                "latest per key" if topic.compacted else "everything",
            )
        stdout.print(table)


@app.command()
def diff(json_: Json = False) -> None:
    """Show what on the cluster is not as it should be; exit code 1 if anything is."""
    session = connect()
    todo = TopicAdmin(session.bootstrap_servers).plan(session.namespace)
    if json_:
        emit(_outcome(session.namespace, todo))
    else:
        _show(todo)
    if not todo.in_sync:
        raise ProofFailed(
            "the cluster's topics are not those of the catalogue; "
            "`agentlog topics apply` changes what may be changed"
        )


@app.command()
def apply(
    json_: Json = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Stop after the plan.")] = False,
) -> None:
    """Create and change topics until they are as they should be."""
    session = connect()
    admin = TopicAdmin(session.bootstrap_servers)
    todo = admin.plan(session.namespace)
    if not json_ or not yes:
        _show(todo)
    if todo.refusals:
        if json_:
            emit(_outcome(session.namespace, todo) | {"applied": False})
        raise ConfigurationError("; ".join(todo.refusals))
    wanted = bool(todo.actions) and not dry_run
    if wanted and not yes:
        typer.confirm("Carry this out?", abort=True, err=True)
    if wanted:
        admin.apply(todo)
    if json_:
        emit(_outcome(session.namespace, todo) | {"applied": wanted})
    elif wanted:
        stderr.print(f"{len(todo.actions)} changes carried out")


def _show(todo: Plan) -> None:
    for action in todo.actions:
        stderr.print(str(action), markup=False)
    for refusal in todo.refusals:
        stderr.print(f"refused: {refusal}", style="red", markup=False)
    for warning in todo.warnings:
        stderr.print(f"warning: {warning}", style="yellow", markup=False)
    for name in todo.extra:
        stderr.print(f"not in the catalogue, left alone: {name}", markup=False)
    if todo.in_sync:
        stderr.print("every topic is as it should be")


def _outcome(namespace: Namespace, todo: Plan) -> dict[str, Any]:
    return {"namespace": namespace.name, **todo.to_dict()}


def _facts(namespace: Namespace, topic: Topic) -> dict[str, Any]:
    return {
        "topic": namespace.topic(topic.name),
        "logical": topic.name,
        "key": topic.key,
        "partitions": topic.partitions,
        "config": dict(topic.config),
        "payloads": list(topic.payloads),
        "growable": topic.growable,
    }
