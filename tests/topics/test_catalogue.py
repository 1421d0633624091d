"""The topic catalogue, the namespace, and the plan that makes a cluster follow it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from streams.errors import ConfigurationError
from streams.topics import TOPICS, Namespace, dlq
from streams.topics.provisioning import (
    ActualTopic,
    AlterConfig,
    CreateTopic,
    GrowPartitions,
    desired_config,
    plan,
    replication_for,
)
from streams.topics.strimzi import topic_resources

NAMESPACE = Namespace("acme")


def as_desired(*, without: str = "", **changes: object) -> list[ActualTopic]:
    """The cluster as the catalogue wants it; `changes` replaces fields of the `events` topic."""
    found = [
        ActualTopic(
            name=NAMESPACE.topic(topic.name),
            partitions=topic.partitions,
            config={**desired_config(topic, 1), "segment.bytes": "1073741824"},
        )
        for topic in TOPICS.values()
        if topic.name != without
    ]
    return [
        msgspec.structs.replace(topic, **changes) if topic.name == "acme.events" else topic
        for topic in found
    ]


def test_every_topic_uses_append_time_and_keeps_everything_or_the_latest() -> None:
    for topic in TOPICS.values():
        assert topic.config["message.timestamp.type"] == "LogAppendTime"
        if topic.name in {"state", "registry", "schemas"}:
            assert topic.config["cleanup.policy"] == "compact"
        else:
            assert topic.config["retention.ms"] == "-1"
            assert topic.config["cleanup.policy"] == "delete"


def test_commands_and_events_are_co_partitioned() -> None:
    assert TOPICS["commands"].partitions == TOPICS["events"].partitions


def test_a_dead_letter_has_room_for_its_headers() -> None:
    dead = [topic for topic in TOPICS.values() if topic.name.endswith(".dlq")]
    assert {topic.name for topic in dead} == {
        dlq(name) for name in ("tasks", "channels", "inbox", "events", "commands")
    }
    for topic in dead:
        source = TOPICS[topic.name.removesuffix(".dlq")]
        assert (
            int(topic.config["max.message.bytes"])
            == int(source.config["max.message.bytes"]) + 64 * 1024
        )


def test_a_namespace_names_topics_groups_and_transactions() -> None:
    assert NAMESPACE.topic("tasks") == "acme.tasks"
    assert NAMESPACE.logical("acme.tasks.dlq") == "tasks.dlq"
    assert NAMESPACE.group("fleet") == "acme.fleet"
    assert NAMESPACE.transactional_id("fleet", "run-1") == "acme.fleet.run-1"
    with pytest.raises(ConfigurationError, match=r"acme2\.tasks is not in namespace acme"):
        NAMESPACE.logical("acme2.tasks")


def test_an_empty_cluster_needs_every_topic() -> None:
    todo = plan(NAMESPACE, [], replication=1)
    assert {action.topic for action in todo.actions} == set(NAMESPACE.topics())
    assert all(isinstance(action, CreateTopic) for action in todo.actions)
    assert not todo.in_sync


def test_a_cluster_that_follows_the_catalogue_needs_nothing() -> None:
    todo = plan(NAMESPACE, as_desired(), replication=1)
    assert todo.in_sync
    assert (todo.actions, todo.warnings, todo.refusals, todo.extra) == ((), (), (), ())


def test_topics_of_other_namespaces_are_not_looked_at_and_extra_ones_are_reported() -> None:
    others = [
        ActualTopic(name="acme2.tasks", partitions=1, config={}),
        ActualTopic(name="acme.mine", partitions=1, config={}),
    ]
    todo = plan(NAMESPACE, [*as_desired(), *others], replication=1)
    assert todo.in_sync
    assert todo.extra == ("acme.mine",)


def test_growing_a_keyed_topic_is_done_with_a_warning() -> None:
    actual = [
        ActualTopic(name=topic.name, partitions=2, config=topic.config)
        if topic.name == "acme.tasks"
        else topic
        for topic in as_desired()
    ]
    todo = plan(NAMESPACE, actual, replication=1)
    assert todo.actions == (GrowPartitions("acme.tasks", 2, TOPICS["tasks"].partitions),)
    assert "its keys move" in todo.warnings[0]


def test_growing_events_is_refused() -> None:
    todo = plan(NAMESPACE, as_desired(partitions=4), replication=1)
    assert todo.actions == ()
    assert not todo.in_sync
    assert "acme.events has 4 partitions" in todo.refusals[0]


def test_more_partitions_than_the_catalogue_says_are_left_alone() -> None:
    todo = plan(NAMESPACE, as_desired(partitions=16), replication=1)
    assert todo.in_sync
    assert "left as it is" in todo.warnings[0]


def test_only_configs_that_differ_are_altered() -> None:
    wanted = desired_config(TOPICS["events"], 1)
    todo = plan(
        NAMESPACE, as_desired(config={**wanted, "retention.ms": "604800000"}), replication=1
    )
    assert todo.actions == (AlterConfig("acme.events", {"retention.ms": ("604800000", "-1")}),)


@pytest.mark.parametrize(
    ("brokers", "replication", "in_sync"), [(1, 1, "1"), (2, 2, "1"), (3, 3, "2"), (9, 3, "2")]
)
def test_replication_follows_the_cluster(brokers: int, replication: int, in_sync: str) -> None:
    assert replication_for(brokers) == replication
    config = desired_config(TOPICS["tasks"], replication_for(brokers))
    assert config["min.insync.replicas"] == in_sync


def test_the_committed_kubernetes_resources_are_those_of_the_catalogue() -> None:
    committed = Path(__file__).parents[2] / "k8s" / "topics.yaml"
    assert committed.read_text(encoding="utf-8") == topic_resources(Namespace("agentlog")), (
        "run `agentlog topics list --k8s > k8s/topics.yaml` and commit it"
    )
