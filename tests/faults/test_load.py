"""The load's pace: on real Kafka, for that is where it was lost once."""

from __future__ import annotations

import time

from streams.kafka.admin import TopicAdmin
from streams.kafka.reader import KafkaLogReader
from streams.topics import TASKS, Namespace
from tests.faults.load import Load, publish
from tests.faults.pipeline import PIPELINE
from tests.faults.stage import CODEC

RECORDS = 2_000
PACE_S = 1.0
LAST_S = 2.5


def test_a_load_waits_for_those_who_cannot_keep_up(kafka: str, namespace: str) -> None:
    """Nothing more is sent until they have; then the pace goes on, and nothing is caught up."""
    space = Namespace(namespace)
    TopicAdmin(kafka).provision(space)
    looks: list[float] = []

    def is_kept_up() -> bool:
        looks.append(time.monotonic())
        return looks[-1] - looks[0] > 2 * PACE_S

    began = time.monotonic()
    sent = publish(
        *(kafka, space, CODEC, PIPELINE, Load(RECORDS)), pace_s=PACE_S, is_kept_up=is_kept_up
    )
    assert sent.records == RECORDS
    assert time.monotonic() - began > 2 * PACE_S


def test_a_load_keeps_its_pace_and_goes_on_while_it_is_told_to(kafka: str, namespace: str) -> None:
    """However quickly the brokers answer: a fault must not be over before its load is."""
    space = Namespace(namespace)
    TopicAdmin(kafka).provision(space)
    began = time.monotonic()
    sent = publish(
        *(kafka, space, CODEC, PIPELINE, Load(RECORDS)),
        pace_s=PACE_S,
        goes_on=lambda: time.monotonic() - began < LAST_S,
    )
    took_s = time.monotonic() - began
    assert took_s >= LAST_S
    assert RECORDS < sent.records <= RECORDS * took_s / PACE_S + 200
    with KafkaLogReader(kafka) as reader:
        ends = dict(reader.ends([space.topic(TASKS)]))
    assert sum(ends.values()) == sent.records
