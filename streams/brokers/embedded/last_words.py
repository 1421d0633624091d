"""What a broker's process said last, and why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streams.brokers.embedded.aot import CacheCrash, is_to_blame
from streams.brokers.embedded.diagnosis import explain_death, is_port_taken
from streams.brokers.embedded.node import ClusterLayout, Node
from streams.errors import BrokerError

LAST_WORDS_MAX = 200


class PortTaken(BrokerError):
    """A port that was free a moment ago is not any more: worth another try with other ports."""


def death(layout: ClusterLayout, node: Node, log_start: int, flags: Sequence[str]) -> BrokerError:
    """The error for a process of this node that ended before its time.

    `log_start` is the size that its server log had before (`size`), `flags` are the JVM's.
    """
    log, console = layout.server_log(node), layout.console_log(node)
    lines = [*last_lines(console, LAST_WORDS_MAX), *last_lines(log, LAST_WORDS_MAX, log_start)]
    kind = PortTaken if is_port_taken(lines) else BrokerError
    if is_to_blame(flags, layout.crash_log(node), lines):
        kind = CacheCrash
    log = log if log.exists() else console
    return kind(explain_death(layout, node, lines, log, "start"))


def last_lines(path: Path, count: int, start: int = 0) -> list[str]:
    """The last `count` lines of a text file after byte `start`; none if there is no file."""
    try:
        with path.open("rb") as file:
            end = size(path)
            start = 0 if start > end else start  # the log rolled meanwhile
            file.seek(max(start, end - 512 * count))
            return file.read().decode("utf-8", errors="replace").splitlines()[-count:]
    except FileNotFoundError:
        return []


def size(path: Path) -> int:
    """In bytes; 0 if there is no such file."""
    return path.stat().st_size if path.exists() else 0
