"""How the nodes of a started broker are: each is asked itself, all at once."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from streams.brokers.embedded import process
from streams.brokers.embedded.instance import Instance
from streams.brokers.embedded.node import Node
from streams.brokers.embedded.state import BrokerState, ProcessId
from streams.brokers.probe import describe_cluster

ANSWER_TIMEOUT_S = 2.0


class Condition(Enum):
    """What is known of a node."""

    UP = "up"
    """It answers and counts itself in."""
    SILENT = "does not answer"
    """Its process is there: it starts, stops, hangs, or has lost the majority of its cluster."""
    GONE = "gone"
    """Its process is not there any more."""


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """One node, as it is now. `pid` is that of its last process."""

    node_id: int
    port: int
    pid: int
    log: Path
    condition: Condition


def examine(instance: Instance, state: BrokerState) -> tuple[NodeHealth, ...]:
    """The health of every node, in order. Takes at most `ANSWER_TIMEOUT_S`, or a little more."""

    def look(node: Node, its: ProcessId) -> NodeHealth:
        log = instance.log_file(node.node_id)
        return NodeHealth(node.node_id, node.port, its.pid, log, _condition(node, its))

    with ThreadPoolExecutor(max_workers=len(state.nodes)) as pool:
        return tuple(pool.map(look, state.nodes, state.processes))


def is_degraded(nodes: Iterable[NodeHealth]) -> bool:
    """Whether a started broker lacks a node."""
    return any(node.condition is not Condition.UP for node in nodes)


def _condition(node: Node, its: ProcessId) -> Condition:
    if not process.is_alive(its):
        return Condition.GONE
    info = describe_cluster(node.address, timeout_s=ANSWER_TIMEOUT_S)
    up = info is not None and node.node_id in info.broker_ids
    return Condition.UP if up else Condition.SILENT
