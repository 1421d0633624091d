"""The table, for people and for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from tests.faults.checkers import CHECKERS, OF_STREAMS
from tests.faults.run import Row

_COLUMNS: Final = (
    "fault",
    "records",
    *CHECKERS,
    *OF_STREAMS,
    "audit",
    "re-run",
    "late s",
    "recover s",
    "stall s",
    "before/s",
    "during/s",
    "fault s",
    "run s",
    "",
)


def show(console: Console, rows: Sequence[Row]) -> None:
    """The table, then what was found and what each fault saw."""
    table = Table(*_COLUMNS, title="Faults: what must be 0 on the log, and what it cost")
    for column in table.columns[1:-1]:
        column.justify = "right"
    for row in rows:
        table.add_row(*_cells(row), style="" if row.clean else "bold red")
    console.print(table)
    for row in rows:
        for finding in findings(row):
            console.print(finding, soft_wrap=True, highlight=False)
        for name, note in row.notes.items():
            console.print(f"{row.name}: {name}: {note}", soft_wrap=True, highlight=False)


def findings(row: Row) -> list[str]:
    """What was found in a row, in words; nothing if it is clean."""
    found = [
        f"{row.name}: {name}: {finding}"
        for name, verdict in row.verdicts.items()
        for finding in verdict.findings
    ]
    found += [f"{row.name}: failed: {failure}" for failure in row.failures]
    if row.audit_clean is False:
        found.append(f"{row.name}: the audit: {row.audit}")
    return found


def line(row: Row) -> str:
    """A row in a line, for those who wait."""
    found = [f"{name} {one.count}" for name, one in row.verdicts.items() if one.count]
    told = row.figures
    took = f", {row.rerun} re-run" if told else ""
    if told and told.recover_s is not None:
        took += f", recovered in {told.recover_s:.1f} s"
    return f"{row.name}: {' '.join([row.status, *found, *row.failures])}{took}"


def _cells(row: Row) -> list[str]:
    asked = (*CHECKERS, *OF_STREAMS)
    counts = [str(row.verdicts[name].count) if name in row.verdicts else "" for name in asked]
    audit = {True: "clean", False: "FAULTS", None: ""}[row.audit_clean]
    told = row.figures
    figures = (
        [
            _seconds(told.late_s),
            _seconds(told.recover_s),
            _seconds(told.stall_s),
            f"{told.rate_before:,.0f}",
            f"{told.rate_during:,.0f}",
        ]
        if told
        else [""] * 5
    )
    return [
        row.name,
        f"{row.records:,}",
        *counts,
        audit,
        f"{row.rerun:,}" if told else "",
        *figures,
        f"{row.fault_s:.0f}" if told else "",
        f"{row.run_s:.0f}" if told else "",
        row.status,
    ]


def _seconds(found: float | None) -> str:
    return "" if found is None else f"{found:.1f}"


def as_json(rows: Sequence[Row]) -> dict[str, Any]:
    """All of it, as one object."""
    built: list[dict[str, Any]] = []
    for row in rows:
        told = msgspec.to_builtins(row)
        told |= {name: verdict["count"] for name, verdict in told.pop("verdicts").items()}
        told["findings"] = {
            name: list(verdict.findings)
            for name, verdict in row.verdicts.items()
            if verdict.findings
        }
        built.append(told)
    return {"clean": all(row.clean for row in rows), "faults": built}
