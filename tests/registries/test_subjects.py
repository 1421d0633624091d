"""The subjects of a type: TopicRecordName over the topics that it goes to."""

from __future__ import annotations

import pytest

from streams.registries.subjects import subjects_of, topics_of, type_of
from streams.schemas import Catalogue
from streams.topics import Namespace

CATALOGUE = Catalogue.load()
NAMESPACE = Namespace("acme-prod")


@pytest.mark.parametrize(
    ("type_name", "topics"),
    [
        ("agentlog.task.AssignTask", ("tasks",)),
        ("agentlog.Json", ("tasks", "events")),
        ("agentlog.chat.MessagePosted", ("channels",)),
        ("agentlog.message.RequestAnswered", ("events", "replies")),
        ("agentlog.message.Acknowledged", ("inbox", "events")),
        ("agentlog.control.Cancel", ("control",)),
        ("agentlog.journal.OutcomesRecorded", ("journal",)),
        ("agentlog.snapshot.CheckpointMade", ("events", "snapshots")),
    ],
)
def test_a_type_goes_where_the_routing_table_leads_it(
    type_name: str, topics: tuple[str, ...]
) -> None:
    """By its own kind, addressed or not, and where a topic is there for its family."""
    assert topics_of(CATALOGUE.type(type_name)) == topics


def test_a_subject_is_topic_and_record_name() -> None:
    """`<topic>-<full name>`: the namespace is part of the topic, and may hold a dash itself."""
    event = CATALOGUE.type("agentlog.task.AssignTask")
    assert subjects_of(event, NAMESPACE) == ("acme-prod.tasks-agentlog.task.AssignTaskEnvelope",)


def test_every_subject_leads_back_to_its_type() -> None:
    """And no type is without a subject."""
    for event in CATALOGUE.types.values():
        subjects = subjects_of(event, NAMESPACE)
        assert subjects
        assert {type_of(subject, NAMESPACE) for subject in subjects} == {event.name}


@pytest.mark.parametrize(
    "subject",
    [
        "other.tasks-agentlog.task.AssignTaskEnvelope",
        "acme-prod.nowhere-agentlog.task.AssignTaskEnvelope",
        "acme-prod.tasks-value",
        "acme-prod.tasks-Envelope",
        "acme-prod.tasks-a./../../evilEnvelope",
        "acme-prod.tasks-../evilEnvelope",
        "acme-prod.tasks",
        "",
    ],
)
def test_other_peoples_subjects_are_no_types_of_ours(subject: str) -> None:
    """Another namespace, another strategy, a topic that the catalogue has not, a path."""
    assert type_of(subject, NAMESPACE) is None
