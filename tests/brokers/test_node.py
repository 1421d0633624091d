"""A node's configuration is a pure function of its cluster."""

from __future__ import annotations

from pathlib import Path

from streams.brokers.containers import container_environment
from streams.brokers.embedded.node import ClusterLayout, Node, render_properties

ONE = ClusterLayout(Path("/data"), (Node(1, 9092, 9093),))
THREE = ClusterLayout(Path("/data"), tuple(Node(n, 9000 + n, 9100 + n) for n in (1, 2, 3)))


def _properties(layout: ClusterLayout, node: Node) -> dict[str, str]:
    text = render_properties(layout, node)
    return dict(line.split("=", 1) for line in text.splitlines())


def test_a_single_node_is_broker_and_controller_on_loopback_only() -> None:
    """Nothing outside this machine can reach the embedded broker."""
    properties = _properties(ONE, ONE.nodes[0])
    assert properties["process.roles"] == "broker,controller"
    assert properties["listeners"] == "CLIENT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093"
    assert properties["advertised.listeners"] == "CLIENT://127.0.0.1:9092"
    assert properties["log.dirs"] == "/data/node-1/data"


def test_a_killed_worker_is_noticed_in_seconds() -> None:
    """The group session lasts 6 s, with a heartbeat each second."""
    properties = _properties(ONE, ONE.nodes[0])
    assert properties["group.consumer.session.timeout.ms"] == "6000"
    assert properties["group.consumer.min.session.timeout.ms"] == "6000"
    assert properties["group.consumer.heartbeat.interval.ms"] == "1000"
    assert properties["group.consumer.min.heartbeat.interval.ms"] == "1000"


def test_topics_are_never_created_by_a_typing_error() -> None:
    """Auto-creation is off."""
    assert _properties(ONE, ONE.nodes[0])["auto.create.topics.enable"] == "false"


def test_internal_topics_are_as_safe_as_the_nodes_allow() -> None:
    """One node: one replica. Three nodes: three replicas, two of them in sync."""
    for layout, replicas, in_sync in ((ONE, "1", "1"), (THREE, "3", "2")):
        properties = _properties(layout, layout.nodes[0])
        assert properties["offsets.topic.replication.factor"] == replicas
        assert properties["transaction.state.log.replication.factor"] == replicas
        assert properties["transaction.state.log.min.isr"] == in_sync
        assert properties["share.coordinator.state.topic.replication.factor"] == replicas


def test_every_node_of_three_knows_all_voters_and_has_its_own_place() -> None:
    """The same layout gives each node its id, ports and folder, and one list of voters."""
    rendered = [_properties(THREE, node) for node in THREE.nodes]
    assert {p["controller.quorum.voters"] for p in rendered} == {
        "1@127.0.0.1:9101,2@127.0.0.1:9102,3@127.0.0.1:9103"
    }
    assert [p["node.id"] for p in rendered] == ["1", "2", "3"]
    assert len({p["log.dirs"] for p in rendered}) == len({p["listeners"] for p in rendered}) == 3
    assert THREE.bootstrap_servers == "127.0.0.1:9001,127.0.0.1:9002,127.0.0.1:9003"


def test_a_folder_with_any_character_survives_the_properties_format() -> None:
    """Backslashes and letters outside ASCII are escaped the way java.util.Properties reads them."""
    layout = ClusterLayout(Path("/ü \\x/€"), ONE.nodes)
    text = render_properties(layout, layout.nodes[0])
    assert "log.dirs=/\\u00fc \\\\x/\\u20ac/node-1/data\n" in text


def test_a_container_gets_the_same_broker_settings() -> None:
    """The image's environment spells our properties its way, and advertises where clients look."""
    environment = container_environment("docker.local", 32000)
    assert environment["KAFKA_GROUP_CONSUMER_SESSION_TIMEOUT_MS"] == "6000"
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "CLIENT://docker.local:32000"
