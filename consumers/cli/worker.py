"""`agentlog worker`: run an app's handlers in one or several processes of its group."""

from __future__ import annotations

import asyncio
import functools
import os
from typing import Annotated, Final

import typer

from consumers.app import App
from consumers.cli.output import emit_line, stderr
from consumers.cli.session import connect, provide_topics
from consumers.references import load_reference
from consumers.worker.process import configure_logs, stop_on_signals
from consumers.worker.processes import ProcessEvent, Supervisor, worker_command
from consumers.worker.transactions import end_open_transaction
from consumers.worker.worker import REVOKE_MARGIN_S
from streams.session import Session

PROCESSES_MAX: Final = 256


def worker(
    app: Annotated[
        str, typer.Option("--app", metavar="MODULE:NAME", help="The `App` with the handlers.")
    ],
    processes: Annotated[
        int, typer.Option("--processes", "-p", min=1, max=PROCESSES_MAX, help="How many share it.")
    ] = 1,
    json_: Annotated[
        bool, typer.Option("--json", help="One JSON object per line: what becomes of processes.")
    ] = False,
) -> None:
    """Run an app's handlers until SIGTERM or Ctrl-C, which drain and commit.

    Each process is one member of the app's group; a process that dies is replaced. Exit code 1
    if processes kept dying before they had committed anything, 2 if the app cannot be loaded, 3 if
    Kafka is away.
    """
    loaded = load_reference(app, App)
    session = connect()
    configure_logs(session.settings.log_level)
    provide_topics(session)
    code = asyncio.run(_supervise(app, loaded, session, processes, as_json=json_))
    if code:
        raise typer.Exit(code)


async def _supervise(
    reference: str, app: App, session: Session, processes: int, *, as_json: bool
) -> int:
    os.environ["AGENTLOG_BOOTSTRAP_SERVERS"] = session.bootstrap_servers
    os.environ["AGENTLOG_NAMESPACE"] = session.settings.namespace
    supervisor = Supervisor(
        processes,
        functools.partial(worker_command, reference),
        tell=emit_line if as_json else _say,
        settle=lambda run_id: end_open_transaction(
            session.bootstrap_servers, session.namespace.transactional_id(app.name, run_id)
        ),
        stop_s_max=app.drain_s_max + REVOKE_MARGIN_S,
    )
    return await supervisor.run(stop_on_signals())


def _say(event: ProcessEvent) -> None:
    how = "" if event.exit_code is None else f" with exit code {event.exit_code}"
    again = "" if event.restart_in_s is None else f"; another starts in {event.restart_in_s:g} s"
    stderr.print(f"worker {event.worker} (pid {event.pid}) {event.event}{how}{again}")
