"""Filters: which records a replay folds."""

from __future__ import annotations

from typing import Final

import msgspec

from streams.envelope import Envelope
from streams.record import Partition
from streams.topics.partitioning import partition_for

_IN_COLUMNS: Final = frozenset({"agent", "origin"})


class Filters(msgspec.Struct, frozen=True, kw_only=True):
    """All that are set must hold."""

    agent: str | None = None
    """It sent the envelope, or is a named recipient."""
    origin: str | None = None
    """The envelope's origin begins with this, as in `import:large`."""
    key: str | None = None
    """The record's key: only its partition of each topic is read."""
    correlation: str | None = None
    """The envelope's correlation id, or its own id: what a correlation begins with."""
    channel: str | None = None
    type: str | None = None
    """Payload type by full or last name, or kind."""
    created_from: int | None = None
    """Event time, UTC microseconds: the first that passes."""
    created_to: int | None = None
    """The first that does not pass any more."""

    @property
    def is_empty(self) -> bool:
        """True if everything passes."""
        return self == EVERYTHING

    @property
    def in_columns(self) -> bool:
        """Whether a columnar fold can apply them."""
        asked = {name for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return asked <= _IN_COLUMNS

    def reads(self, source: Partition, partitions: int) -> bool:
        """Whether anything on this one of a topic's partitions can pass."""
        return self.key is None or partition_for(self.key.encode(), partitions) == source.index

    def accept_key(self, key: bytes | None) -> bool:
        """Whether a record with this key can pass; nothing has to be decoded for that."""
        return self.key is None or key == self.key.encode()

    def accept(self, envelope: Envelope) -> bool:
        """Whether the envelope is folded."""
        if self.agent is not None and not (
            envelope.sender == self.agent or self.agent in envelope.recipients
        ):
            return False
        if self.origin is not None and not (envelope.origin or "").startswith(self.origin):
            return False
        if self.correlation is not None and self.correlation not in {
            envelope.correlation_id,
            envelope.id,
        }:
            return False
        if self.channel is not None and envelope.channel_id != self.channel:
            return False
        if self.type is not None and self.type not in {
            envelope.type,
            envelope.type.rpartition(".")[2],
            envelope.kind.value,
        }:
            return False
        if self.created_from is not None and envelope.created_at < self.created_from:
            return False
        return self.created_to is None or envelope.created_at < self.created_to


EVERYTHING: Final = Filters()
