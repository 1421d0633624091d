"""`agentlog workers`: who is at work, on what, and how far behind."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
import typer
from rich import box
from rich.markup import escape
from rich.table import Column, Table

from consumers.cli.output import emit, stderr, stdout
from consumers.cli.session import connect
from consumers.worker.roll_call import RollCall, SilentWorker, call_roll
from consumers.worker.status import WorkerStatus
from streams.headers import rfc3339
from streams.topics import Namespace

WAIT_S: Final = 5.0
RUN_ID_CHARS: Final = 8
"""Of a run id, shown to people; `--json` has all of it."""
KEY_CHARS_MAX: Final = 24

_KIB: Final = 1024


def workers(
    group: Annotated[
        str | None,
        typer.Option("--group", "-g", help="Only this group's: its app's name, or its full name."),
    ] = None,
    wait: Annotated[
        float,
        typer.Option("--wait", min=0.1, metavar="S", help="Seconds that workers get to answer."),
    ] = WAIT_S,
    json_: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> None:
    """Show what every worker process is doing. Exit code 1 if one did not answer."""
    session = connect()
    full = _full_name(session.namespace, group) if group is not None else None
    found = asyncio.run(call_roll(session, full, wait))
    if json_:
        emit(_document(found))
    elif found.workers or found.silent:
        _show(found, session.namespace)
    else:
        where = full or f"namespace {session.namespace.name}"
        stderr.print(f"no workers in {where}; `agentlog worker --app MODULE:NAME` starts some")
    if found.silent:
        count = len(found.silent)
        stderr.print(
            f"{count} of {count + len(found.workers)} workers did not answer within {wait:g} s: "
            "stuck, cut off, or dead and not missed by the broker yet",
            style="red",
        )
        raise typer.Exit(1)


def _full_name(namespace: Namespace, group: str) -> str:
    return group if group in namespace else namespace.group(group)


def _show(found: RollCall, namespace: Namespace) -> None:
    table = Table(
        "group",
        "worker",
        "up since (UTC)",
        *_right("partitions", "in flight", "running", "waiting", "retrying"),
        "oldest waiting",
        *_right("commit gap"),
        box=box.SIMPLE_HEAD,
    )
    for one in found.workers:
        table.add_row(*_row(one, namespace))
    for silent in found.silent:
        table.add_row(*_silent_row(silent, namespace), style="red")
    stdout.print(table)


def _right(*names: str) -> list[Column]:
    return [Column(name, justify="right") for name in names]


def _row(one: WorkerStatus, namespace: Namespace) -> tuple[str, ...]:
    started = datetime.fromtimestamp(one.started_at / 1_000_000, UTC)
    gap = f"{one.commit_gap:,}" + (f" ({one.beyond:,} beyond)" if one.beyond else "")
    return (
        _logical(namespace, one.group),
        f"{escape(one.host)} pid {one.pid} {escape(one.run_id[:RUN_ID_CHARS])}",
        f"{started:%m-%d %H:%M:%S}",
        str(len(one.partitions)),
        f"{one.in_flight:,} ({_size(one.in_flight_bytes)})",
        f"{one.running:,}",
        f"{one.waiting:,}",
        f"{one.retrying:,}",
        _oldest(one),
        gap,
    )


def _silent_row(silent: SilentWorker, namespace: Namespace) -> tuple[str, ...]:
    return (
        _logical(namespace, silent.group),
        f"{escape(silent.host)} {escape(silent.run_id[:RUN_ID_CHARS])}",
        "did not answer",
        str(len(silent.partitions)),
    )


def _logical(namespace: Namespace, group: str) -> str:
    return escape(group.removeprefix(f"{namespace.name}."))


def _oldest(one: WorkerStatus) -> str:
    if one.oldest_key is None:
        return "—"
    key = one.oldest_key
    short = key if len(key) <= KEY_CHARS_MAX else key[: KEY_CHARS_MAX - 1] + "…"
    return f"{escape(short)}, {one.oldest_ms / 1000:,.1f} s"


def _size(count: int) -> str:
    if count < _KIB:
        return f"{count} B"
    if count < _KIB * _KIB:
        return f"{count / _KIB:.0f} KiB"
    return f"{count / _KIB / _KIB:.1f} MiB"


def _document(found: RollCall) -> dict[str, Any]:
    return {
        "workers": [
            msgspec.to_builtins(one)
            | {
                "started_at": rfc3339(one.started_at),
                "reported_at": rfc3339(one.reported_at),
                "commit_gap": one.commit_gap,
                "beyond": one.beyond,
            }
            for one in found.workers
        ],
        "silent": [msgspec.to_builtins(one) for one in found.silent],
    }
