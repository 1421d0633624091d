"""What a call on the log in memory waits for before it happens."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum

Pace = Callable[["Call"], Awaitable[None]]
"""Awaited before each call. A simulation delays calls here, or cancels who makes them."""


class Call(StrEnum):
    """The calls that a worker makes, each of which happens at once when its turn has come."""

    HEARTBEAT = "heartbeat"
    COMMITTED = "committed"
    COMMIT_POSITIONS = "commit_positions"
    INIT = "init"
    APPEND = "append"
    SEND_POSITIONS = "send_positions"
    COMMIT = "commit"
    COMMIT_ANSWER = "commit_answer"
    """Not a call: a commit has happened, and its answer is on its way."""
    ABORT = "abort"
    READ = "read"
    """An app reads the log itself, to rebuild what it keeps."""


async def at_once(_call: Call) -> None:
    """No call takes any time."""
