"""One worker process: `python -m consumers.worker.process --app MODULE:NAME --run-id …`.

What a supervisor starts. Settings come from the environment. SIGTERM and SIGINT drain it; so does
the death of the supervisor (`--parent`), for nobody would stop it then. Logs go to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from consumers.app import App
from consumers.current_run import add_record_ids
from consumers.references import load_reference
from consumers.worker.collector import seldom_collecting
from consumers.worker.processes import tell_first_commit
from consumers.worker.worker import Worker
from streams.errors import AgentlogError, ConfigurationError
from streams.session import read_settings, session_on
from streams.settings import Settings

PARENT_POLL_S: Final = 1.0

_log: Final = structlog.get_logger("agentlog.worker")


def configure_logs(level: str) -> None:
    """Structured lines on stderr, with the ids of the record that is being handled."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_record_ids,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set, for the running loop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def run(
    app: App,
    settings: Settings,
    *,
    run_id: str = "",
    parent: int | None = None,
    on_commit: Callable[[], None] | None = None,
) -> None:
    """Run one worker until told to stop, or until the process `parent` is not our parent."""
    if settings.bootstrap_servers is None:
        raise ConfigurationError(
            "AGENTLOG_BOOTSTRAP_SERVERS is not set; start workers with `agentlog worker`"
        )
    stop = stop_on_signals()
    session = session_on(settings.bootstrap_servers, settings)
    worker = Worker(
        app,
        session.bootstrap_servers,
        session.namespace,
        session.codec,
        run_id=run_id,
        record_bytes_max=settings.record_bytes_max,
        on_commit=on_commit,
    )
    watch = asyncio.create_task(_watch_parent(parent, stop))
    failure: AgentlogError | None = None
    try:
        with seldom_collecting(app.in_flight_max):
            await worker.run(stop)
    except AgentlogError as error:
        failure = error
    finally:
        watch.cancel()
    if worker.stubborn:
        # They swallow their cancellation, or hang in a thread: the loop would wait for them.
        _log.error("handlers_left_behind", count=worker.stubborn, failure=str(failure or ""))
        sys.stderr.flush()
        os._exit(failure.exit_code if failure is not None else 0)
    if failure is not None:
        raise failure


async def _watch_parent(parent: int | None, stop: asyncio.Event) -> None:
    # The system tells no event of it, so it is polled.
    while parent is not None and os.getppid() == parent:  # noqa: ASYNC110
        await asyncio.sleep(PARENT_POLL_S)
    if parent is not None:
        stop.set()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker; returns its exit code."""
    parser = argparse.ArgumentParser(prog="agentlog-worker")
    parser.add_argument("--app", required=True)
    parser.add_argument("--run-id", default="")
    # Told, not asked for here: whoever started us may be dead before we have begun.
    parser.add_argument("--parent", type=int)
    parser.add_argument("--commit-fd", type=int, help="where to tell of the first commit")
    given = parser.parse_args(arguments)
    settings = read_settings()
    configure_logs(settings.log_level)
    try:
        app = load_reference(given.app, App)
        tell = tell_first_commit(given.commit_fd) if given.commit_fd is not None else None
        asyncio.run(run(app, settings, run_id=given.run_id, parent=given.parent, on_commit=tell))
    except AgentlogError as error:
        _log.error("worker_ended", error=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
