"""Topics on a real cluster: created, found in sync, altered, grown, and never torn apart."""

from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from streams.errors import BrokerError, ConfigurationError
from streams.kafka.admin import TopicAdmin
from streams.topics import TOPICS, Namespace
from streams.topics.provisioning import AlterConfig, CreateTopic, GrowPartitions


def make(kafka: str, name: str, partitions: int, **config: str) -> None:
    client = AdminClient({"bootstrap.servers": kafka})
    new = NewTopic(
        name,
        num_partitions=partitions,
        replication_factor=1,
        config={key.replace("_", "."): value for key, value in config.items()},
    )
    client.create_topics([new])[name].result(timeout=30)
    give_up_at = time.monotonic() + 30
    while name not in client.list_topics(timeout=30).topics:
        assert time.monotonic() < give_up_at


def test_applying_the_plan_twice_does_nothing_the_second_time(kafka: str, namespace: str) -> None:
    admin, mine = TopicAdmin(kafka), Namespace(namespace)
    todo = admin.plan(mine)
    assert len(todo.actions) == len(TOPICS)
    admin.apply(todo)
    admin.apply(todo)
    again = admin.plan(mine)
    assert again.in_sync
    assert again.actions == ()
    found = {topic.name: topic for topic in admin.topics(mine)}
    assert {mine.logical(name): topic.partitions for name, topic in found.items()} == {
        name: topic.partitions for name, topic in TOPICS.items()
    }
    assert len({topic.topic_id for topic in found.values()}) == len(TOPICS)
    admin.delete(mine.topics())


def test_what_differs_is_altered_and_grown(kafka: str, namespace: str) -> None:
    admin, mine = TopicAdmin(kafka), Namespace(namespace)
    make(kafka, mine.topic("tasks"), 2, retention_ms="1000")
    make(kafka, mine.topic("mine-alone"), 1)
    todo = admin.plan(mine)
    by_kind = {
        kind: [
            action
            for action in todo.actions
            if isinstance(action, kind) and action.topic == mine.topic("tasks")
        ]
        for kind in (CreateTopic, GrowPartitions, AlterConfig)
    }
    assert by_kind[CreateTopic] == []
    assert by_kind[GrowPartitions] == [GrowPartitions(mine.topic("tasks"), 2, 8)]
    changes = by_kind[AlterConfig][0].changes  # type: ignore[union-attr]
    assert changes["retention.ms"] == ("1000", "-1")
    assert todo.extra == (mine.topic("mine-alone"),)
    admin.apply(todo)
    assert admin.plan(mine).in_sync
    admin.delete([*mine.topics(), mine.topic("mine-alone")])


def test_events_with_fewer_partitions_are_refused_and_nothing_is_done(
    kafka: str, namespace: str
) -> None:
    admin, mine = TopicAdmin(kafka), Namespace(namespace)
    make(kafka, mine.topic("events"), 1)
    with pytest.raises(ConfigurationError, match="growing it would"):
        admin.apply(admin.plan(mine))
    assert [topic.name for topic in admin.topics(mine)] == [mine.topic("events")]
    admin.delete([mine.topic("events")])


def test_provisioning_creates_what_is_missing_and_changes_nothing_else(
    kafka: str, namespace: str
) -> None:
    admin, mine = TopicAdmin(kafka), Namespace(namespace)
    make(kafka, mine.topic("events"), 1)
    assert len(admin.provision(mine)) == len(TOPICS) - 1
    assert admin.provision(mine) == ()
    assert {topic.name: topic.partitions for topic in admin.topics(mine)}[mine.topic("events")] == 1
    admin.delete(mine.topics())


def test_a_cluster_that_is_not_there_is_a_broker_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka.admin.ANSWER_S_MAX", 1.0)
    with pytest.raises(BrokerError, match="is it running"):
        TopicAdmin("127.0.0.1:1").plan(Namespace("nobody"))
