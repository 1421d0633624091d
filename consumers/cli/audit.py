"""`agentlog audit`: prove from the log alone what groups did with their records."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from consumers.audit import GroupAudit
from consumers.audit import audit as audit_groups
from consumers.cli.output import emit, stdout
from consumers.cli.session import connect
from streams.errors import ProofFailed
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
    results = audit_groups(reader, session.codec, session.namespace, group=group)
    if json_:
        emit({"clean": all(one.clean for one in results), "groups": results})
    else:
        stdout.print(_table(results))
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
        f"{result.group}: {one.record} {one.detail} ({one.kind})" for one in result.findings
    ]
    if not problems and not result.clean:
        problems.append(f"{result.group}: {result.lost} lost, {result.duplicated} duplicated, "
                        f"{result.reordered} reordered")
    return problems


def _table(results: list[GroupAudit]) -> Table:
    table = Table("group", "accepted", "handled", "skipped", "dead-lettered", "expired",
                  "in flight", "outputs", "lost", "duplicated", "reordered", "books")
    for one in results:
        table.add_row(
            one.group,
            str(one.accepted),
            *(str(one.outcomes.get(name, 0))
              for name in ("handled", "skipped", "dead_lettered", "expired")),
            *map(str, (one.in_flight, one.outputs, one.lost, one.duplicated, one.reordered)),
            "clean" if one.clean else "FAULTY",
        )
    return table
