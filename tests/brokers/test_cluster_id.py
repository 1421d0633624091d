"""A fresh cluster has an id that Kafka's own tools accept."""

from __future__ import annotations

import uuid

from streams.brokers.embedded.storage import fresh_cluster_id


def test_an_id_never_looks_like_an_option() -> None:
    """A UUID whose text would begin with `-` is drawn again."""
    drawn = iter([uuid.UUID(int=0xF8 << 120), uuid.UUID(int=1)])
    assert fresh_cluster_id(lambda: next(drawn)) == "AAAAAAAAAAAAAAAAAAAAAQ"
    assert next(drawn, None) is None
