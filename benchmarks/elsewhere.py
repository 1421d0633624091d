"""A part of a bench in a process of its own: it shares no interpreter with the rest.

The target gets its end of a pipe first, and ends when the other end is closed.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final, NamedTuple

import structlog

END_S_MAX: Final = 60.0
"""How long it may take to end once its pipe is closed."""


class Elsewhere(NamedTuple):
    """A process that runs, and the pipe to it."""

    process: BaseProcess
    pipe: Connection


@contextmanager
def elsewhere(
    target: Callable[..., None], *arguments: Any, daemon: bool = True
) -> Iterator[Elsewhere]:
    """Run `target(pipe, *arguments)`, all picklable, in a fresh process while the block lasts.

    A daemon ends with us, but may have no processes of its own.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_begin, args=(target, theirs, *arguments), daemon=daemon)
    process.start()
    theirs.close()
    try:
        yield Elsewhere(process, ours)
    finally:
        ours.close()
        process.join(END_S_MAX)
        if process.is_alive():
            process.kill()
            process.join()


def log_warnings_only() -> None:
    """To stderr: stdout is for results."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _begin(target: Callable[..., None], pipe: Connection, *arguments: Any) -> None:
    log_warnings_only()
    target(pipe, *arguments)


def closed(pipe: Connection) -> asyncio.Event:
    """Set once the other end is closed. Nothing may be sent to this end."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_readable() -> None:
        event.set()
        loop.remove_reader(pipe.fileno())

    loop.add_reader(pipe.fileno(), on_readable)
    return event
