"""What a running broker leaves for other processes to find: a small JSON file.

Pure: text in, value out. A state names its processes by pid and by birth, so that a pid that the
system gave to somebody else is never mistaken for ours (nor killed).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from streams.brokers.embedded.node import Node


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that cannot be confused with a later one of the same pid (see `process.py`)."""

    pid: int
    birth: str


@dataclass(frozen=True, slots=True)
class BrokerState:
    """A started cluster: its nodes and their processes, in the same order.

    `keep` says who stops it: True for `agentlog broker start`, which stays until
    `agentlog broker stop`; False for a program that started it for itself.
    """

    kafka_version: str
    nodes: tuple[Node, ...]
    processes: tuple[ProcessId, ...]
    started_at: datetime
    keep: bool

    @property
    def bootstrap_servers(self) -> str:
        """What clients are given: every node's `host:port`."""
        return ",".join(node.address for node in self.nodes)


def parse_state(text: str) -> BrokerState | None:
    """The state in a state file's text, or None if it holds none (empty, torn, another format)."""
    try:
        raw: dict[str, Any] = json.loads(text)
        state = BrokerState(
            kafka_version=str(raw["kafka_version"]),
            nodes=tuple(
                Node(int(n["node_id"]), int(n["port"]), int(n["controller_port"]))
                for n in raw["nodes"]
            ),
            processes=tuple(ProcessId(int(p["pid"]), str(p["birth"])) for p in raw["processes"]),
            started_at=datetime.fromisoformat(raw["started_at"]),
            keep=bool(raw["keep"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
    return state if len(state.nodes) == len(state.processes) > 0 else None


def render_state(state: BrokerState) -> str:
    """The text of a state file: `parse_state(render_state(state)) == state`."""
    document = asdict(state) | {"started_at": state.started_at.isoformat()}
    return json.dumps(document, indent=1) + "\n"
