"""`agentlog schemas lint`: what a schema should be like beyond being valid."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from consumers.cli.asked import AsJson
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.schemas_diff import Folder, choose_folder
from consumers.reviewing.blocking import RULES as REVIEW_RULES
from streams.errors import ProofFailed
from streams.schemas.folders import SchemaFolder, reserved_names
from streams.schemas.lint import RULES, LintReport, Problem
from streams.schemas.lint import lint as lint_types


def lint(
    folder: Folder = None,
    rules: Annotated[
        bool, typer.Option("--rules", help="Show the rules, and why each is.")
    ] = False,
    json_: AsJson = False,
) -> None:
    """Names, docs, defaults, units, ids and times, personal data: exit 1 if a rule is broken.

    What has to break one is waived in the folder's subjects.toml, for a while and with a reason.
    """
    if rules:
        _show_rules(json_=json_)
        return
    where = choose_folder(folder)
    report = lint_folder(where)
    if json_:
        emit(lint_document(report))
    else:
        _show(report, where)
    if not report.is_clean:
        count = len(report.problems)
        raise ProofFailed(
            f"{count} {'problem' if count == 1 else 'problems'} in {where.path}; mend what is "
            "found, or waive it in subjects.toml"
        )


def lint_folder(folder: SchemaFolder) -> LintReport:
    """The report on a folder's types as their files are now, today."""
    folder.require_avro()
    return lint_types(
        {name: file.schema for name, file in folder.types.items()},
        {subject.type: subject for subject in folder.subjects},
        reserved=reserved_names(),
        today=datetime.now(UTC).date(),
        other_rules=REVIEW_RULES,
    )


def lint_document(report: LintReport) -> dict[str, Any]:
    """The report as JSON."""
    return {
        "types": report.types,
        "problems": [_document(one) for one in report.problems],
        "waived": [_document(one) for one in report.waived],
    }


def _document(problem: Problem) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": problem.type,
        "path": problem.path,
        "rule": problem.rule,
        "message": problem.message,
        "reason": problem.reason,
    }
    if problem.waiver is not None:
        waiver = problem.waiver
        found["waiver"] = {
            "reason": waiver.reason,
            "owner": waiver.owner,
            "expires": waiver.expires.isoformat(),
        }
    return found


def _show(report: LintReport, folder: SchemaFolder) -> None:
    for name, problems in groupby(report.problems, key=lambda one: one.type):
        stdout.print(Text(f"{name}  ", "bold").append(str(folder.types[name].path), "dim"))
        for one in problems:
            line = Text(f"  {one.path or '(the type)'}  ", "cyan").append(one.message, "none")
            stdout.print(line.append(f"  {one.rule}", "dim"), soft_wrap=True)
    waived = f", {len(report.waived)} waived" if report.waived else ""
    stderr.print(f"{report.types} types, {len(report.problems)} problems{waived}")


def _show_rules(*, json_: bool) -> None:
    if json_:
        emit({"rules": [{"id": rule.id, "reason": rule.reason} for rule in RULES.values()]})
        return
    table = Table("rule", "because")
    for rule in RULES.values():
        table.add_row(rule.id, rule.reason)
    stdout.print(table)
