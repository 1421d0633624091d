"""One node's configuration, as a pure function of the cluster it belongs to.

A `ClusterLayout` is plain data: where it lives and which ports each node has. `render_properties`
gives the `server.properties` of any node in it, for one node or for three.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Node:
    """One combined broker and controller; ids count from 1."""

    node_id: int
    port: int
    controller_port: int

    @property
    def address(self) -> str:
        """Its own `host:port`."""
        return f"{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """The nodes of one embedded cluster and the folder that holds all of it."""

    folder: Path
    nodes: tuple[Node, ...]

    @property
    def bootstrap_servers(self) -> str:
        """What clients are given: every node's `host:port`."""
        return ",".join(node.address for node in self.nodes)

    def node_folder(self, node: Node) -> Path:
        """`node-<id>`: one node's configuration, `data/`, `logs/` and `tmp/`."""
        return self.folder / f"node-{node.node_id}"

    def properties(self, node: Node) -> Path:
        """Its `server.properties`."""
        return self.node_folder(node) / "server.properties"

    def server_log(self, node: Node) -> Path:
        """Where its Kafka writes its log."""
        return self.node_folder(node) / "logs" / "server.log"

    def console_log(self, node: Node) -> Path:
        """Where its JVM writes what never reaches the log: its own last words."""
        return self.node_folder(node) / "logs" / "console.log"

    def crash_log(self, node: Node) -> Path:
        """What its JVM writes only when it crashes itself."""
        return self.node_folder(node) / "logs" / "crash.log"


def render_properties(layout: ClusterLayout, node: Node) -> str:
    """The text of `node`'s `server.properties`."""
    pairs = {**_identity(layout, node), **broker_settings(len(layout.nodes))}
    return "".join(f"{key}={value}\n" for key, value in pairs.items())


def render_controller(layout: ClusterLayout, node: Node) -> str:
    """`server.properties` for `node` as the controller alone, which soon gives up its own broker
    (`fencing.py`).
    """
    pairs = {
        **_quorum(layout, node),
        "process.roles": "controller",
        "listeners": f"CONTROLLER://{HOST}:{node.controller_port}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT",
        "broker.heartbeat.interval.ms": "200",
        "broker.session.timeout.ms": "500",
    }
    return "".join(f"{key}={value}\n" for key, value in pairs.items())


def broker_settings(nodes: int) -> dict[str, str]:
    """What every broker of ours is told, wherever it runs, in a cluster of `nodes`."""
    return {**_internal_topics(nodes), **_TUNING}


def _quorum(layout: ClusterLayout, node: Node) -> dict[str, str]:
    voters = ",".join(f"{n.node_id}@{HOST}:{n.controller_port}" for n in layout.nodes)
    return {
        "node.id": str(node.node_id),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "log.dirs": _escaped(layout.node_folder(node) / "data"),
    }


def _identity(layout: ClusterLayout, node: Node) -> dict[str, str]:
    return {
        **_quorum(layout, node),
        "process.roles": "broker,controller",
        "inter.broker.listener.name": "CLIENT",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "listeners": f"CLIENT://{HOST}:{node.port},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": f"CLIENT://{HOST}:{node.port}",
    }


def _internal_topics(nodes: int) -> dict[str, str]:
    """Kafka's own topics: as safe as the nodes allow, and few partitions, made at first use."""
    replicas, in_sync = str(min(3, nodes)), str(1 if nodes < 3 else 2)
    return {
        "default.replication.factor": replicas,
        "min.insync.replicas": in_sync,
        "offsets.topic.num.partitions": "8",
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.num.partitions": "8",
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


_TUNING = {
    # Topics are provisioned on purpose (`agentlog topics apply`), never by a typing error.
    "auto.create.topics.enable": "false",
    # A killed worker is noticed in seconds; Kafka's default is 45 s.
    "group.consumer.min.session.timeout.ms": "6000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.heartbeat.interval.ms": "1000",
    "group.consumer.heartbeat.interval.ms": "1000",
    "group.initial.rebalance.delay.ms": "0",
    # "Fleet down" for a holiday loses no position (a year; Kafka's default is a week).
    "offsets.retention.minutes": "525600",
    # Sized for two cores and a small heap: the cleaner alone would take 128 MB.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.threads": "1",
    "log.cleaner.dedupe.buffer.size": "16777216",
}


def _escaped(path: Path) -> str:
    """A path as a Java properties value: backslashes and non-Latin characters as escapes."""
    out = []
    for unit in memoryview(str(path).encode("utf-16-be")).cast("B").tobytes().hex(" ", 2).split():
        code = int(unit, 16)
        out.append("\\\\" if code == 0x5C else chr(code) if 0x20 <= code < 0x7F else f"\\u{unit}")
    return "".join(out)
