"""Three nodes, for real: `agentlog broker` keeps them, a lost one comes back, three copies hold."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    ResourceType,
)
from typer.testing import CliRunner

from consumers.cli.broker import app
from streams.brokers import EmbeddedKafka
from streams.brokers.embedded import Instance, examine, instance, is_degraded
from streams.errors import BrokerError
from streams.kafka.admin import TopicAdmin
from streams.topics import TOPICS, Namespace

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster() -> Iterator[EmbeddedKafka]:
    """One cluster of three for the tests that do not mind its past."""
    with EmbeddedKafka(nodes=3) as kafka:
        yield kafka


@pytest.fixture
def own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Named brokers live in a folder of this test; what runs there at the end is stopped."""
    monkeypatch.setattr(instance, "data_home", lambda: tmp_path)
    yield
    for folder in tmp_path.iterdir():
        Instance(folder).stop()


def _json(*args: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*args, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def _conditions() -> list[str]:
    return [node["condition"] for node in _json("status")["nodes"]]


@pytest.mark.usefixtures("own_data")
def test_a_cluster_starts_shows_its_nodes_heals_and_stops() -> None:
    """The whole life of `agentlog broker start --nodes 3`, with one node killed on the way."""
    started = _json("start", "--nodes", "3")
    assert [node["id"] for node in started["nodes"]] == [1, 2, 3]
    assert _conditions() == ["up"] * 3
    assert started["degraded"] is False
    for node in started["nodes"]:
        assert f"127.0.0.1:{node['port']}" in started["bootstrap_servers"]
        assert Path(node["log"]).is_file()

    os.kill(started["pids"][1], signal.SIGKILL)
    _wait_for(["up", "gone", "up"])
    assert _json("status")["degraded"] is True
    shown = CliRunner().invoke(app, ["status"], catch_exceptions=False)
    assert "degraded, 2 of 3 nodes are up" in shown.stdout
    assert "agentlog broker start --name default" in shown.stderr

    again = _json("start")
    assert again["already_running"] is True
    assert again["restarted_nodes"] == [2]
    assert again["bootstrap_servers"] == started["bootstrap_servers"]
    assert [a == b for a, b in zip(again["pids"], started["pids"], strict=True)] == [
        True,
        False,
        True,
    ]
    assert _conditions() == ["up"] * 3

    with pytest.raises(BrokerError, match=r"has 3 nodes, not 1.*another --name"):
        _json("start", "--nodes", "1")
    assert _json("stop")["stopped"] is True
    with pytest.raises(BrokerError, match="has 3 nodes, not 1"):
        _json("start", "--nodes", "1")
    assert _json("status")["running"] is False


@pytest.mark.usefixtures("own_data")
def test_a_cluster_that_nobody_describes_is_started_as_it_was() -> None:
    """Without --nodes the data says how many; so do its folders if the state file is torn."""
    folder = Instance.named().folder
    for node_id in (1, 2, 3):
        (folder / f"node-{node_id}" / "data" / "__cluster_metadata-0").mkdir(parents=True)
    (folder / "last-run.json").write_text('{"nodes":')
    with pytest.raises(BrokerError, match="has 3 nodes, not 2"):
        _json("start", "--nodes", "2")


def test_topics_and_kafkas_own_have_three_copies(cluster: EmbeddedKafka, namespace: str) -> None:
    """Provisioned topics, topics made with the broker's defaults, offsets and transactions."""
    servers = cluster.bootstrap_servers
    TopicAdmin(servers).provision(Namespace(namespace))
    ours = [Namespace(namespace).topic(topic) for topic in TOPICS]
    _commit_in_a_transaction(servers, ours[0])
    names = [*ours, "__consumer_offsets", "__transaction_state"]
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    described = admin.describe_topics(TopicCollection(names))
    for name, future in described.items():
        assert {len(p.replicas) for p in future.result(30).partitions} == {3}, name
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    for resource, answer in admin.describe_configs(resources).items():
        assert answer.result(30)["min.insync.replicas"].value == "2", resource


def test_a_killed_and_a_held_node_come_back_with_every_record(
    cluster: EmbeddedKafka, namespace: str
) -> None:
    """SIGKILL and SIGSTOP one node each: the cluster goes on, `start` brings the node back."""
    topic = Namespace(namespace).topic("tasks")
    # Kafka is slow at three copies of every topic's partitions, and only one is written to.
    only = {"tasks": TOPICS["tasks"]}
    TopicAdmin(cluster.bootstrap_servers).provision(Namespace(namespace), only)
    killed, held, other = cluster.nodes
    producer = Producer(
        {
            "bootstrap.servers": cluster.bootstrap_servers,
            "enable.idempotence": True,
            "socket.timeout.ms": 5000,  # a held node never answers what was sent to it
            "log_level": 0,
        }
    )
    _produce(producer, topic, 100)
    for node, fault in ((killed, signal.SIGKILL), (held, signal.SIGSTOP)):
        before = node.pid
        os.kill(before, fault)
        _produce(producer, topic, 100)
        node.start()
        assert node.is_alive
        assert node.pid != before
        assert other.is_alive
    reader = Consumer(
        {"bootstrap.servers": cluster.bootstrap_servers, "group.id": namespace, "log_level": 0}
    )
    ends = [
        reader.get_watermark_offsets(TopicPartition(topic, p), timeout=30)[1]
        for p in range(TOPICS["tasks"].partitions)
    ]
    reader.close()
    assert sum(ends) == 300


def test_there_is_no_fourth_node(cluster: EmbeddedKafka) -> None:
    """The error names the nodes that there are."""
    with pytest.raises(BrokerError, match=r"no node 4.*\[1, 2, 3\]"):
        cluster.restart_node(4)


def test_all_nodes_killed_come_back_when_nobody_waits_for_the_first(
    cluster: EmbeddedKafka,
) -> None:
    """No node can answer before a majority is up: `wait=False` starts them one after another."""
    before = {node.pid for node in cluster.nodes}
    for node in cluster.nodes:
        os.kill(node.pid, signal.SIGKILL)
    for node in cluster.nodes:
        node.start(wait=False)
    assert not before & {node.pid for node in cluster.nodes}
    assert Instance(cluster.folder).find() == cluster.state, "other processes find them too"
    deadline = time.monotonic() + 90
    while is_degraded(examine(Instance(cluster.folder), cluster.state)):
        assert time.monotonic() < deadline


def _produce(producer: Producer, topic: str, count: int) -> None:
    for n in range(count):
        producer.produce(topic, b"x", key=f"{n}".encode())
    assert producer.flush(60) == 0


def _commit_in_a_transaction(servers: str, topic: str) -> None:
    """Make the cluster create its offsets and its transactions topic."""
    reader = Consumer({"bootstrap.servers": servers, "group.id": topic, "log_level": 0})
    reader.subscribe([topic])
    producer = Producer({"bootstrap.servers": servers, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, b"x")
    producer.send_offsets_to_transaction(
        [TopicPartition(topic, 0, 0)], reader.consumer_group_metadata(), 60
    )
    producer.commit_transaction(60)
    reader.close()


def _wait_for(conditions: list[str]) -> None:
    deadline = time.monotonic() + 60
    while _conditions() != conditions:
        assert time.monotonic() < deadline, _conditions()
