"""Client settings, as tables: one place to read what we ask of Kafka's clients, and why."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

MURMUR2: Final = "murmur2_random"
"""librdkafka's name for what Java and aiokafka do; its own default would part a key's records."""

LINGER_MS: Final = 2
"""How long a publisher's part-filled batch waits for company."""
BATCH_BYTES: Final = 128 * 1024
"""Uncompressed bytes of a publisher's batch, per partition; a larger record goes alone."""
REQUEST_TIMEOUT_MS: Final = 30_000
"""How long a publisher waits for one answer of a broker."""

PUBLISHER: Final[Mapping[str, Any]] = {
    "enable_idempotence": True,
    "acks": "all",
    "compression_type": "lz4",
    "max_batch_size": BATCH_BYTES,
    "linger_ms": 0,  # the publisher lingers itself, while a batch can still grow
    "request_timeout_ms": REQUEST_TIMEOUT_MS,
    "retry_backoff_ms": 50,
}
"""aiokafka's producer, for agents."""

TAIL: Final[Mapping[str, Any]] = {
    "isolation_level": "read_committed",
    "enable_auto_commit": False,
    "auto_offset_reset": "none",  # a position that is gone is an error, not a silent jump
    "fetch_max_wait_ms": 250,
    "request_timeout_ms": REQUEST_TIMEOUT_MS,
}
"""aiokafka's consumer by assignment, for live tails."""

CONTROL: Final[Mapping[str, Any]] = {
    "group.id": "agentlog-control",  # the client insists; assign and no commit make no member
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",  # removed or made anew: all that is there is to be heard
    "enable.partition.eof": True,
    "fetch.min.bytes": 1,  # the broker answers with the first record: no delay for company
    "fetch.error.backoff.ms": 100,
    "fetch.queue.backoff.ms": 10,
    "reconnect.backoff.max.ms": 1_000,
    "queued.max.messages.kbytes": 4_096,
    "check.crcs": True,
}
"""confluent-kafka's consumer by assignment, for the system lane."""

ADMIN: Final[Mapping[str, Any]] = {
    "socket.timeout.ms": 10_000,
    "socket.connection.setup.timeout.ms": 5_000,
}
"""confluent-kafka's admin client."""

SILENT: Final = logging.getLogger("agentlog.librdkafka")
"""Where librdkafka's own log goes: it would write to stderr otherwise. Errors reach the caller."""
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False
