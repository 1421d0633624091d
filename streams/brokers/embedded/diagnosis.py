"""Why a broker did not start: from its last words to one sentence that says what to do. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from streams.brokers.embedded.node import ClusterLayout, Node

PORT_TAKEN = re.compile(r"Address already in use|Failed to bind|failed to bind")
_REASONS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        PORT_TAKEN,
        "port {port} or {controller_port} on 127.0.0.1 is in use by another program: choose "
        + "another one with --port, or stop that program",
    ),
    (
        re.compile(r"No space left on device|Disk quota exceeded"),
        "the disk is full at {folder}: make room and start again",
    ),
    (
        re.compile(r"Permission denied|Read-only file system|AccessDeniedException"),
        "{folder} is not writable: make it writable and start again",
    ),
    (
        re.compile(r"Failed to acquire lock on file|OverlappingFileLockException"),
        "another Kafka already runs on the data in {folder}: stop that one first",
    ),
    (
        re.compile(r"OutOfMemoryError|insufficient memory|Could not reserve enough space"),
        "there was not enough memory for the Java process: free some and start again",
    ),
)
_NOISE = re.compile(r"^\s+at |^\s*\.\.\. \d+ more|^\s*$|\[aot")  # a refused AOT cache harms nothing
_TROUBLE = re.compile(r"ERROR|FATAL|Exception|Error:|error:")
QUOTED_LINES_MAX = 3


def is_port_taken(lines: Sequence[str]) -> bool:
    """Whether these log lines say that a port was in use."""
    return any(PORT_TAKEN.search(line) for line in lines)


def explain_death(
    layout: ClusterLayout, node: Node, lines: Sequence[str], log: Path, what: str
) -> str:
    """The sentence for a Java process that ended before its time.

    `lines` are its last words, oldest first; `what` is the act that failed ("start", "be
    formatted"). A known reason is named; else its last meaningful lines are quoted. `log` is named
    in either case.
    """
    facts = {
        "port": node.port,
        "controller_port": node.controller_port,
        "folder": layout.node_folder(node) / "data",
    }
    for pattern, sentence in _REASONS:
        if any(pattern.search(line) for line in lines):
            return f"Kafka could not {what}: {sentence.format(**facts)} (log: {log})"
    quoted = " | ".join(meaningful(lines)) or "it said nothing"
    return (
        f"Kafka could not {what}; its last words: {quoted}. The whole log is {log}; if the data is "
        f"broken, move {facts['folder']} away to start empty"
    )


def meaningful(lines: Sequence[str]) -> list[str]:
    """The last few lines that tell of trouble, or that tell anything."""
    said = [line.strip() for line in lines if not _NOISE.search(line)]
    trouble = [line for line in said if _TROUBLE.search(line)]
    return (trouble or said)[-QUOTED_LINES_MAX:]
