"""Committed positions: what passes is asked again, what does not ends it.

A consumer of our own says what a real one says only where brokers hang for many seconds: a worker
ended in `rolling_restart` because a question had waited too long to be sent (`_TIMED_OUT_QUEUE`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumers.worker.positions import committed_positions

ASKED = [TopicPartition("ns.tasks", 3)]


class Consumer:
    """Answers with these errors first."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)

    def committed(self, sources: Sequence[TopicPartition], **_: Any) -> list[TopicPartition]:
        """Position 7 for all of them."""
        if self.codes:
            raise KafkaException(KafkaError(self.codes.pop(0)))
        return [TopicPartition(one.topic, one.partition, 7) for one in sources]


@pytest.mark.parametrize(
    "code",
    [
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    ],
)
def test_what_passes_is_asked_again(code: int) -> None:
    """As often as it takes, unless the worker ends meanwhile."""
    [found] = committed_positions(Consumer(code, code), ASKED, lambda _: False)  # type: ignore[arg-type]
    assert found.offset == 7
    assert committed_positions(Consumer(code), ASKED, lambda _: True) == []  # type: ignore[arg-type]


def test_what_does_not_pass_is_raised() -> None:
    """Asking again would not help."""
    with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION"):
        committed_positions(
            Consumer(KafkaError.GROUP_AUTHORIZATION_FAILED),  # type: ignore[arg-type]
            ASKED,
            lambda _: False,
        )
