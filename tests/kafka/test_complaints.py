"""A client's complaints: the first at once, then a line with their number now and then."""

from __future__ import annotations

import structlog
from confluent_kafka import KafkaError
from structlog.testing import capture_logs

from streams.kafka.complaints import EVERY_S, Complaints


def test_the_same_complaint_is_told_seldom_and_counted() -> None:
    """Each kind by itself; nothing that was held back is forgotten."""
    now = [100.0]
    told = Complaints(structlog.get_logger(), "client_error", lambda: now[0])
    away, down = KafkaError(KafkaError._TRANSPORT), KafkaError(KafkaError._ALL_BROKERS_DOWN)
    with capture_logs() as logs:
        for _ in range(5):
            told.tell(away)
        told.tell(down)
        now[0] += EVERY_S
        told.tell(away)
    assert [(one["event"], one["code"], one["count"]) for one in logs] == [
        ("client_error", "_TRANSPORT", 1),
        ("client_error", "_ALL_BROKERS_DOWN", 1),
        ("client_error", "_TRANSPORT", 5),
    ]
