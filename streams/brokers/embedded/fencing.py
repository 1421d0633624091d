"""After a kill, the controller gives the broker up before the broker comes back.

Why: a broker leads its old partitions as soon as it has read its own metadata, and a transaction
that it finds prepared gets its markers. It sends them to itself, but does not listen until its
registration of before the kill has expired; and when that expires, its partitions have no leader.
Kafka (4.3, TransactionMarkerChannelManager) then takes them for deleted: the transaction is called
complete without its markers, and the group that committed positions in it can never read them
again. With more nodes another one leads meanwhile.

So a single node that did not end in order runs as the controller alone first, until the
registration has expired: the broker then leads nothing before it is counted in.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from streams.brokers.embedded import guarding, java, process
from streams.brokers.embedded.guarding import Guarded
from streams.brokers.embedded.last_words import death, last_lines, size
from streams.brokers.embedded.node import ClusterLayout, Node, render_controller

GIVE_UP_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
CLEAN_END = ".kafka_cleanshutdown"
"""The file that a broker leaves in its data when it ends in order, and takes away at its start."""

_LINES_MAX = 2_000
_POLL_S = 0.05


def give_up_killed(layout: ClusterLayout, jars: Path, flags: Sequence[str]) -> None:
    """If the layout's only node was killed, return when its controller has given its broker up.

    Should that take too long, it goes on without. Raises what `launch` does for a process that ends
    before its time.
    """
    if len(layout.nodes) > 1:
        return
    (node,) = layout.nodes
    if not _was_killed(layout.node_folder(node) / "data"):
        return
    properties = layout.node_folder(node) / "controller.properties"
    properties.write_text(render_controller(layout, node), encoding="utf-8")
    command = java.broker_command(
        jars,
        properties,
        logs=layout.node_folder(node) / "logs",
        scratch=layout.node_folder(node) / "tmp",
        flags=flags,
    )
    log_start = size(layout.server_log(node))
    controller, guard = guarding.start(command, layout.console_log(node), Guarded(delete=None))
    try:
        deadline = time.monotonic() + GIVE_UP_TIMEOUT_S
        while not _given_up(layout, node, log_start) and time.monotonic() < deadline:
            if not process.is_alive(controller):
                raise death(layout, node, log_start, flags)
            time.sleep(_POLL_S)
    finally:
        process.terminate([controller], timeout_s=STOP_TIMEOUT_S, rest_s=STOP_TIMEOUT_S)
        if guard is not None:
            guarding.end(guard)


def _was_killed(data: Path) -> bool:
    return (data / "__cluster_metadata-0").exists() and not (data / CLEAN_END).exists()


def _given_up(layout: ClusterLayout, node: Node, log_start: int) -> bool:
    """Whether the controller has said so: it answers no client of ours (KIP-919)."""
    said = f"Fencing broker {node.node_id} "
    return any(said in line for line in last_lines(layout.server_log(node), _LINES_MAX, log_start))
