"""The envelope: what an agent sends, as a frozen value.

One envelope is one Avro record on the log: the routing fields below, then one typed payload. The
same value serves task assignments, chat, status, commands, events and replies; `kind` says which
of the messaging designs' roles it plays, `type` names the payload's schema.

An envelope that was not published yet may leave `id`, `kind`, `sender` and `created_at` empty:
whoever publishes it stamps them. One that came from the log has all of them, and a payload that
decodes on first touch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from streams.errors import InvalidEnvelope
from streams.identity import is_message_id


class Kind(StrEnum):
    """The role of an envelope. An unknown symbol from a newer writer reads as `UNKNOWN`."""

    REQUEST = "request"
    RESPONSE = "response"
    NOTIFICATION = "notification"
    ERROR = "error"
    TASK_ASSIGNMENT = "task_assignment"
    TASK_RESULT = "task_result"
    STATUS_UPDATE = "status_update"
    HEARTBEAT = "heartbeat"
    SHUTDOWN = "shutdown"
    BROADCAST = "broadcast"
    EVENT = "event"
    COMMAND = "command"
    STATE_CHANGE = "state_change"
    STATE_SYNC_REQUEST = "state_sync_request"
    UNKNOWN = "unknown"


class Lane(StrEnum):
    """`DATA` is ordered per key; `SYSTEM` is control and preempts it."""

    DATA = "data"
    SYSTEM = "system"


PRIORITY_MIN: Final = 1
PRIORITY_MAX: Final = 5
PRIORITY_DEFAULT: Final = 3
TTL_MS_DEFAULT: Final = 30_000

ORIGIN: Final = "origin"
"""Envelope header of an imported envelope: `import:<name>`."""
IMPORT_SEQ: Final = "import_seq"
"""Envelope header of an imported envelope: its decimal line number in the import, from 1."""

ATTEMPT: Final = "attempt"
"""Envelope header of what a handler sent at once, outside of its transaction: the attempt, from 1.
Such an envelope may be on the log more often than once."""
SEQUENCE: Final = "sequence"
"""Envelope header of the same: its number among what that attempt sent, from 0."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DECIMAL: Final = re.compile(r"[0-9]{1,18}")


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One message between agents.

    Times are UTC: `created_at` in microseconds since the epoch, `ttl_ms` in milliseconds.
    Fields are only ever added, before `payload`, with a default.
    """

    type: str
    """Full name of the payload's schema, as in `agentlog.task.AssignTask`."""
    payload: Mapping[str, Any]
    """The payload as Avro sees it. From the log: decodes on first touch."""
    id: str = ""
    """`msg-<13-digit epoch ms>-<9 of a-z0-9>`; empty until stamped."""
    kind: Kind = Kind.UNKNOWN
    """Unknown until stamped: then the payload type's own kind."""
    sender: str = ""
    """Id of the agent that sent it; empty until stamped."""
    recipients: tuple[str, ...] = ()
    """Ids of the agents it is for; empty means everyone."""
    broadcast_pattern: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    """Id of the envelope whose handling sent this one."""
    channel_id: str | None = None
    server_id: str | None = None
    session_id: str | None = None
    reply_to: str | None = None
    """Instance whose reply inbox takes the answer."""
    created_at: int = 0
    """Event time: UTC microseconds since the epoch; 0 until stamped."""
    ttl_ms: int = 0
    """Expires this many milliseconds after `created_at`; 0 never does."""
    priority: int = PRIORITY_DEFAULT
    """1 to 5; 5 is the most urgent."""
    requires_ack: bool = False
    retry_count: int = 0
    lane: Lane = Lane.DATA
    stream_id: str | None = None
    stream_version: int | None = None
    expected_version: int | None = None
    writer: str | None = None
    writer_epoch: int | None = None
    headers: Mapping[str, str] = {}
    """Free annotations; W3C `traceparent`, `origin` and `import_seq` live here."""

    @property
    def created_at_utc(self) -> datetime:
        """`created_at` as an aware datetime."""
        return _EPOCH + timedelta(microseconds=self.created_at)

    @property
    def origin(self) -> str | None:
        """`import:<name>` for an imported envelope, else None."""
        return self.headers.get(ORIGIN)

    @property
    def import_seq(self) -> int | None:
        """Place in its import, from 1; None for what was sent live.

        Anybody may write to the log: a header that is no number counts as none.
        """
        seq = self.headers.get(IMPORT_SEQ, "")
        return int(seq) if _DECIMAL.fullmatch(seq) else None

    @property
    def expires_at_ms(self) -> int | None:
        """Epoch milliseconds after which it is expired; None if it never is."""
        return self.created_at // 1000 + self.ttl_ms if self.ttl_ms > 0 else None

    def with_(self, **changes: Any) -> Envelope:
        """A copy with these fields changed."""
        return msgspec.structs.replace(self, **changes)


def check(envelope: Envelope) -> None:
    """Raise `InvalidEnvelope` unless a stamped envelope may go on the log.

    The payload is not looked at: its own schema decides that when it is encoded.
    """
    if not is_message_id(envelope.id):
        raise InvalidEnvelope("id", f"{envelope.id!r} is not msg-<13 digits>-<9 of a-z0-9>")
    if not envelope.sender:
        raise InvalidEnvelope("sender", "is empty; name the agent that sends it")
    if not PRIORITY_MIN <= envelope.priority <= PRIORITY_MAX:
        raise InvalidEnvelope("priority", f"{envelope.priority} is not between 1 and 5")
    if envelope.ttl_ms < 0:
        raise InvalidEnvelope("ttl_ms", f"{envelope.ttl_ms} is negative; 0 means it never expires")
    if envelope.created_at < 0:
        raise InvalidEnvelope("created_at", "lies before 1970")
    if envelope.created_at == 0:
        raise InvalidEnvelope("created_at", "is not stamped (UTC microseconds since the epoch)")
    if envelope.retry_count < 0:
        raise InvalidEnvelope("retry_count", f"{envelope.retry_count} is negative")
    if "" in envelope.recipients:
        raise InvalidEnvelope("recipients", "holds an empty agent id")
    seq = envelope.headers.get(IMPORT_SEQ)
    if seq is not None and not _DECIMAL.fullmatch(seq):
        raise InvalidEnvelope(f"headers.{IMPORT_SEQ}", f"{seq!r} is no decimal number below 10¹⁸")
