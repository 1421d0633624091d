"""What a consumer may answer instead of records, by what it means for a read by position."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaError

# The client spells the codes of its own errors with an underscore.
END: Final = KafkaError._PARTITION_EOF  # noqa: SLF001
"""Not one: the end of the partition, which a consumer is told of if it asks for it."""
GONE: Final = frozenset(
    {
        KafkaError.OFFSET_OUT_OF_RANGE,
        KafkaError._AUTO_OFFSET_RESET,  # noqa: SLF001
        KafkaError._NO_OFFSET,  # noqa: SLF001
    }
)
"""The position is not there: removed, or beyond the end."""
MISSING: Final = frozenset(
    {
        KafkaError.UNKNOWN_TOPIC_OR_PART,
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)
"""The topic or partition is not there."""
PASSING: Final = frozenset(
    {
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
    }
)
"""Ends by itself: the client goes on trying."""
