"""What the index is asked by: kinds of keys, their hashes, and numbers for topics."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from streams.envelope import Envelope
from streams.record import Record
from streams.topics import (
    CHANNELS,
    COMMANDS,
    CONTROL,
    EVENTS,
    INBOX,
    REPLIES,
    TASKS,
    dlq,
)

HASHES_MAX: Final = 65_536
"""Hashes that are remembered: the same agents, and causes that were ids a moment ago."""


class Key(IntEnum):
    """What a row of the index was made of. Stored: numbers keep their meaning."""

    ID = 1
    CORRELATION = 2
    CAUSATION = 3
    SENDER = 4
    RECIPIENT = 5
    CHANNEL = 6


TOPIC_NUMBERS: Final = {
    TASKS: 1,
    CHANNELS: 2,
    INBOX: 3,
    EVENTS: 4,
    COMMANDS: 5,
    REPLIES: 6,
    CONTROL: 7,
    dlq(TASKS): 8,
    dlq(CHANNELS): 9,
    dlq(INBOX): 10,
    dlq(EVENTS): 11,
    dlq(COMMANDS): 12,
}
"""By logical name: what agents sent, and what became of it that could not be finished. Stored."""

TOPIC_NAMES: Final = {number: name for name, number in TOPIC_NUMBERS.items()}


@lru_cache(maxsize=HASHES_MAX)
def key_hash(text: str) -> int:
    """Eight bytes that stand for a key. Two keys may share them: the record itself decides."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def keys_of(record: Record, logical: str, envelope: Envelope) -> Iterator[tuple[Key, str]]:
    """What a record is found by. In an inbox it is for its owner alone."""
    yield Key.ID, envelope.id
    if envelope.correlation_id:
        yield Key.CORRELATION, envelope.correlation_id
    if envelope.causation_id:
        yield Key.CAUSATION, envelope.causation_id
    if envelope.sender:
        yield Key.SENDER, envelope.sender
    if envelope.channel_id:
        yield Key.CHANNEL, envelope.channel_id
    if logical == INBOX and record.key:
        yield Key.RECIPIENT, record.key.decode("utf-8", "replace")
    else:
        for recipient in envelope.recipients:
            yield Key.RECIPIENT, recipient


def has_key(record: Record, envelope: Envelope, key: Key, texts: frozenset[str]) -> bool:
    """Whether the record is found by one of these, and not only by something of the same hash."""
    logical = record.topic.partition(".")[2]
    return any(one is key and text in texts for one, text in keys_of(record, logical, envelope))
