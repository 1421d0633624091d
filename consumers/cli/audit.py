"""`agentlog audit`: prove from the log alone what groups did with their records."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from consumers.audit import GroupAudit, broker_marks
from consumers.audit import audit as audit_groups
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.session import connect
from streams.errors import ConfigurationError, ProofFailed
from streams.kafka.groups import GroupAdmin
from streams.kafka.reader import KafkaLogReader


def audit(
    group: Annotated[
        str | None, typer.Option("--group", "-g", help="A group's name; all that have a journal.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Check that every record ended exactly once, and that no output is there twice or astray.

    Exit code 1 if a proof fails; the first gap, overlap or missing outcome is named.
    """
    session = connect()
    reader = KafkaLogReader(session.bootstrap_servers)
    groups = GroupAdmin(session.bootstrap_servers, session.namespace)
    results = audit_groups(
        reader,
        session.codec,
        session.namespace,
        group=group,
        committed=broker_marks(groups, reader, session.namespace),
    )
    if group is not None and not results[0].tilings:
        raise ConfigurationError(
            f"group {group} has no journal in namespace {session.namespace.name}: it has settled "
            "nothing yet, or has another name; `agentlog audit` lists those that have"
        )
    if json_:
        emit({"clean": all(one.clean for one in results), "groups": results})
    elif results:
        stdout.print(_table(results))
    else:
        stderr.print(f"no group has settled anything in namespace {session.namespace.name} yet")
    problems = [problem for one in results for problem in problems_of(one)]
    if problems:
        raise ProofFailed("; ".join(problems))


def problems_of(result: GroupAudit) -> list[str]:
    """What is wrong with a group's books, in words; empty if nothing is."""
    problems = [
        f"{result.group}: {source}@{fault.position} {fault.detail} ({fault.kind})"
        for source, tiling in result.tilings.items()
        for fault in tiling.faults
    ]
    problems += [
        f"{result.group}: {one.record} {one.detail} ({one.kind})"
        for one in result.findings
        if not result.clean
    ]
    if not problems and not result.clean:
        problems.append(
            f"{result.group}: {result.lost} lost, {result.duplicated} duplicated, "
            f"{result.reordered} reordered"
        )
    return problems


def _table(results: list[GroupAudit]) -> Table:
    """One column per group: few have many, and what counts is read downwards."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("group")
    for one in results:
        table.add_column(one.group, justify="right")
    rows: list[tuple[str, list[int]]] = [
        ("accepted", [one.accepted for one in results]),
        *(
            (f"  {name.replace('_', '-')}", [one.outcomes.get(name, 0) for one in results])
            for name in ("handled", "skipped", "dead_lettered", "expired")
        ),
        ("  in flight", [one.in_flight for one in results]),
        ("outputs", [one.outputs for one in results]),
        ("repeated", [one.repeated for one in results]),
        ("lost", [one.lost for one in results]),
        ("duplicated", [one.duplicated for one in results]),
        ("reordered", [one.reordered for one in results]),
    ]
    for label, counts in rows:
        table.add_row(label, *(f"{count:,}" for count in counts))
    table.add_row("books", *("clean" if one.clean else "[red]faulty[/]" for one in results))
    return table
