"""`agentlog replay handlers`: an app's handlers run again on what they handled, effects off."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from consumers.app import App
from consumers.cli.asked import AsJson, At
from consumers.cli.comparing import plain
from consumers.cli.cut import read_named
from consumers.cli.output import emit, stderr, stdout
from consumers.cli.progress import following
from consumers.cli.session import connect
from consumers.differences import NOTHING, Difference
from consumers.references import load_reference
from consumers.rehearsal import Finding, HandlerStuck, Rehearsed, rehearse
from streams.errors import ProofFailed
from streams.kafka.cuts import NamedCuts
from streams.kafka.reader import KafkaLogReader
from streams.moments import resolve_at
from streams.session import Session


def handlers(
    app: Annotated[str, typer.Argument(metavar="MODULE:NAME", help="The `App` to run again.")],
    at: At = "now",
    group: Annotated[
        str | None,
        typer.Option("--group", "-g", help="The group that handled the records; else the app's."),
    ] = None,
    json_: AsJson = False,
) -> None:
    """Run an app's handlers again on what they handled, and compare what they publish.

    Nothing is written, recorded effects are served, the network and processes are refused. Exit
    code 1 if a handler does not do what it had done; the first divergence is told with both sides.
    """
    loaded = load_reference(app, App)
    session = connect()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # handlers may print
            found = _rehearsed(session, loaded, at, group)
    except HandlerStuck as stuck:
        stderr.print(f"agentlog: {stuck}", style="red", markup=False, soft_wrap=True)
        os._exit(stuck.exit_code)  # no thread can be stopped: the interpreter would wait for it
    if json_:
        emit(document(found))
    else:
        show(found)
    if not found.clean:
        raise ProofFailed(_told(found))


def _rehearsed(session: Session, app: App, at: str, group: str | None) -> Rehearsed:
    with KafkaLogReader(session.bootstrap_servers) as reader:
        named = NamedCuts(reader, session.namespace, session.codec)
        topics, now_ms = session.namespace.topics(app.topics), time.time_ns() // 1_000_000
        cut = resolve_at(reader, topics, at, now_ms, read_named(named))
        with following(f"handlers of {app.name}") as on_progress:
            return rehearse(
                app,
                reader=reader,
                codec=session.codec,
                namespace=session.namespace,
                cut=cut,
                group=group,
                on_progress=on_progress,
            )


def _told(found: Rehearsed) -> str:
    count = sum(found.counts.values())
    more = f" (and {count - 1:,} more)" if count > 1 else ""
    return f"{found.findings[0]}{more}"


def document(found: Rehearsed) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "clean": found.clean,
        "app": found.app,
        "group": found.group,
        "cut": found.cut.encode(),
        "records": found.records,
        "passed_over": found.passed_over,
        "handler_runs": found.runs,
        "outputs_equal": found.outputs,
        "outputs_not_compared": found.not_compared,
        "effects_served": found.effects_served,
        "sent_at_once": found.sent_at_once,
        "found": dict(found.counts),
        "findings": [_finding(one) for one in found.findings],
        "kernel_guard": found.kernel_guard,
        "seconds": round(found.seconds, 3),
    }


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "record": one.record,
        "handler": one.handler or None,
        "detail": one.detail,
        "output": one.output or None,
        "type": one.type or None,
        "place": one.place or None,
        "differences": [_difference(found) for found in one.differences],
        "on_log": one.on_log,
        "now": one.now,
    }


def _difference(one: Difference) -> dict[str, Any]:
    sides = {"on_log": one.before, "now": one.after}
    # What is not there has no name in the object: null is a value.
    return {"path": one.path, **{k: v for k, v in sides.items() if v is not NOTHING}}


def show(found: Rehearsed) -> None:
    """What people see."""
    table = Table("group", found.group, box=box.SIMPLE_HEAD)
    table.columns[1].justify = "right"
    rows = {
        "records handled again": found.records,
        "passed over": found.passed_over,
        "handlers run": found.runs,
        "outputs as on the log": found.outputs,
        "effects served": found.effects_served,
        "sent at once, not compared": found.sent_at_once,
        "other outputs not compared": found.not_compared,
        **{name.replace("_", " "): count for name, count in sorted(found.counts.items())},
    }
    for name, count in rows.items():
        if count or name in {"records handled again", "outputs as on the log"}:
            table.add_row(name, f"{count:,}")
    table.add_row("they did", "the same" if found.clean else "[red]not the same[/]")
    stdout.print(table)
    if not found.kernel_guard:
        stderr.print(
            "connections of Python code were refused; what C libraries open on their own could "
            "not be (no seccomp filters on this machine)",
            style="yellow",
            soft_wrap=True,
        )
    if found.findings:
        _show_sides(found.findings[0])
    for one in found.findings[1:]:
        stdout.print(str(one), markup=False, soft_wrap=True)


def _show_sides(first: Finding) -> None:
    """The first divergence, both sides."""
    stdout.print(str(first), markup=False, soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("", "on the log", "now"):
        table.add_column(name, overflow="fold")
    if first.differences:
        for one in first.differences:
            table.add_row(*map(plain, (one.path, one.before, one.after)))
    else:
        for name in sorted({*(first.on_log or {}), *(first.now or {})}):
            sides = ((side or {}).get(name, NOTHING) for side in (first.on_log, first.now))
            table.add_row(name, *map(plain, sides))
    if table.row_count:
        stdout.print(table)
