"""Dead letters: what a record carries that one group could not finish, and how it goes back.

A dead letter is the original record, untouched (key, value bytes, headers), on `<topic>.dlq`, plus
headers that begin with `dlq_`: where it was, whose it is, what went wrong. So nothing that cannot
be decoded is lost, and a redrive is a copy of bytes.

The headers added here are at most `DLQ_EXTRA_BYTES` together whatever an error, a stack or a
context says: that is the room a dead-letter topic has above its source's largest record. Each part
has its own bound below; the group's name, which must stay whole, has at most 32,767 bytes by
Kafka's own protocol.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Self

import msgspec

from streams.envelope import Envelope
from streams.errors import DecodeError, Unroutable
from streams.headers import (
    CE_ID,
    REDRIVE,
    REDRIVE_FOR,
    REDRIVE_HANDLERS,
    Header,
    header,
    rfc3339,
)
from streams.record import Partition, Record
from streams.topics import dlq

DLQ_PREFIX: Final = "dlq_"
DLQ_TOPIC: Final = "dlq_topic"
"""Full name of the topic that the record was on."""
DLQ_PARTITION: Final = "dlq_partition"
DLQ_POSITION: Final = "dlq_position"
"""Its position there, decimal."""
DLQ_APPENDED_AT_MS: Final = "dlq_appended_at_ms"
DLQ_GROUP: Final = "dlq_group"
"""Full name of the group that could not finish it."""
DLQ_HANDLERS: Final = "dlq_handlers"
"""A JSON array of the handlers that failed; empty if it never got to any."""
DLQ_ATTEMPTS: Final = "dlq_attempts"
DLQ_ERROR_NAME: Final = "dlq_error_name"
DLQ_ERROR_MESSAGE: Final = "dlq_error_message"
DLQ_ERROR_STACK: Final = "dlq_error_stack"
DLQ_FAILED_AT_MS: Final = "dlq_failed_at_ms"
DLQ_RETRY_COUNT: Final = "dlq_retry_count"
"""How often it had been redriven when it failed, decimal."""
DLQ_CONTEXT: Final = "dlq_context"
"""A JSON object: app, run, agent, and whatever else may help."""

ERROR_NAME_CHARS_MAX: Final = 128
ERROR_MESSAGE_CHARS_MAX: Final = 2_000
ERROR_STACK_BYTES_MAX: Final = 8_192
"""UTF-8; what is longer loses its middle: both the entry point and the cause stay."""
HANDLERS_BYTES_MAX: Final = 4_096
"""Names that are longer together are not told, so that a redrive runs all handlers."""
CONTEXT_BYTES_MAX: Final = 8_192
CONTEXT_VALUE_BYTES_MAX: Final = 1_024
"""A longer value loses its middle and becomes text."""

NOWHERE: Final = -1
"""Partition, position and append time of what was never appended."""

DEAD_LETTER_RESOLVED: Final = "agentlog.dlq.DeadLetterResolved"
REDRIVEN: Final = "redriven"
DROPPED: Final = "dropped"

_REDRIVE_HEADERS: Final = frozenset({REDRIVE, REDRIVE_FOR, REDRIVE_HANDLERS})
_LEFT_OUT: Final = "left_out"
_LEFT_OUT_ROOM: Final = 32
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    AttributeError,
    RecursionError,
    msgspec.MsgspecError,
)
_json: Final = msgspec.json.Encoder(enc_hook=str).encode
_names: Final = msgspec.json.Decoder(tuple[str, ...]).decode
_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """Why a record is a dead letter, and where it comes from. Times are epoch milliseconds."""

    topic: str
    """Full name of the original topic."""
    partition: int
    """-1 (`NOWHERE`), as position and append time, for what was never appended there."""
    position: int
    appended_at_ms: int
    group: str
    """Full name; empty if no group had read it."""
    handlers: tuple[str, ...] = ()
    """Those that failed; empty: none got that far, or nobody knows which."""
    attempts: int = 0
    error_name: str = ""
    error_message: str = ""
    error_stack: str = ""
    failed_at_ms: int = 0
    retry_count: int = 0
    """How often it had been redriven when it failed."""
    context: Mapping[str, Any] = {}

    @property
    def source(self) -> Partition:
        """The partition it comes from."""
        return Partition(self.topic, self.partition)

    def to_headers(self, original_headers: Iterable[Header]) -> list[Header]:
        """The original headers and this, every part within its bound."""
        return [*without_dlq(original_headers), *self._own_headers()]

    def _own_headers(self) -> list[Header]:
        return [
            (DLQ_TOPIC, _bytes(self.topic)),
            (DLQ_PARTITION, b"%d" % self.partition),
            (DLQ_POSITION, b"%d" % self.position),
            (DLQ_APPENDED_AT_MS, b"%d" % self.appended_at_ms),
            (DLQ_GROUP, _bytes(self.group)),
            (DLQ_HANDLERS, _handlers(self.handlers)),
            (DLQ_ATTEMPTS, b"%d" % self.attempts),
            (DLQ_ERROR_NAME, _bytes(self.error_name[:ERROR_NAME_CHARS_MAX])),
            (DLQ_ERROR_MESSAGE, _bytes(self.error_message[:ERROR_MESSAGE_CHARS_MAX])),
            (DLQ_ERROR_STACK, cut_middle(_bytes(self.error_stack), ERROR_STACK_BYTES_MAX)),
            (DLQ_FAILED_AT_MS, b"%d" % self.failed_at_ms),
            (DLQ_RETRY_COUNT, b"%d" % self.retry_count),
            (DLQ_CONTEXT, _context(self.context)),
        ]

    @classmethod
    def from_record(cls, record: Record) -> Self:
        """Read a record of a dead-letter topic. Raises `DecodeError` if it is no dead letter."""
        found = {name: value for name, value in record.headers if name.startswith(DLQ_PREFIX)}
        try:
            letter = cls(
                topic=found[DLQ_TOPIC].decode(),
                partition=int(found[DLQ_PARTITION]),
                position=int(found[DLQ_POSITION]),
                appended_at_ms=int(found[DLQ_APPENDED_AT_MS]),
                group=found[DLQ_GROUP].decode(),
                handlers=_names(found[DLQ_HANDLERS]),
                attempts=int(found[DLQ_ATTEMPTS]),
                error_name=found[DLQ_ERROR_NAME].decode(),
                error_message=found[DLQ_ERROR_MESSAGE].decode(),
                error_stack=found[DLQ_ERROR_STACK].decode(),
                failed_at_ms=int(found[DLQ_FAILED_AT_MS]),
                retry_count=int(found[DLQ_RETRY_COUNT]),
                context=_object(found[DLQ_CONTEXT]),
            )
        except KeyError as error:
            raise DecodeError(f"{record} is no dead letter: it has no header {error}") from error
        except _UNREADABLE as error:
            raise DecodeError(f"{record} is no dead letter that can be read: {error}") from error
        if record.topic != dlq(letter.topic):
            # Anybody may write headers; a redrive goes where the topic's name says, or nowhere.
            raise DecodeError(f"{record} is no dead letter of this topic: it says {letter.topic}")
        return letter

    def document(self, message: Any) -> dict[str, Any]:
        """S3.11's record: {message, error, context, failed_at, retry_count}, ready for JSON."""
        return {
            "message": message,
            "error": {
                "name": self.error_name,
                "message": self.error_message,
                "stack": self.error_stack,
            },
            "context": dict(self.context),
            "failed_at": rfc3339(self.failed_at_ms * 1000),
            "retry_count": self.retry_count,
        }


def dead_letter_headers(
    record: Record,
    *,
    group: str,
    handlers: Sequence[str],
    attempts: int,
    error_name: str,
    error_message: str,
    stack: str,
    failed_at_ms: int,
    context: Mapping[str, Any],
) -> list[Header]:
    """All headers of the dead letter that `record` becomes; its key and value stay as they are.

    `group` is the full name, `handlers` those that failed (none, if it never got to one). Takes
    whatever an error may say: what is too long is cut, what is no text or JSON is made so.
    """
    letter = DeadLetter(
        topic=record.topic,
        partition=record.partition,
        position=record.position,
        appended_at_ms=record.appended_at_ms,
        group=group,
        handlers=tuple(handlers),
        attempts=attempts,
        error_name=error_name,
        error_message=error_message,
        error_stack=stack,
        failed_at_ms=failed_at_ms,
        retry_count=redrive_of(record.headers),
        context=context,
    )
    return letter.to_headers(record.headers)


def unroutable_headers(
    headers: Iterable[Header], *, topic: str, recipient: str, sender: str, failed_at_ms: int
) -> list[Header]:
    """All headers of the dead letter that a record becomes whose recipient is in no fleet.

    It was never on `topic` (full name) and no group has read it: a redrive sends it there for
    whoever has registered by then.
    """
    return DeadLetter(
        topic=topic,
        partition=NOWHERE,
        position=NOWHERE,
        appended_at_ms=NOWHERE,
        group="",
        error_name=Unroutable.__name__,
        error_message=f"no fleet has registered {recipient}; start one that runs it, then redrive",
        failed_at_ms=failed_at_ms,
        context={"agent": recipient, "sender": sender},
    ).to_headers(headers)


def redrive_headers(record: Record, letter: DeadLetter, *, redrive: int = 0) -> list[Header]:
    """The headers under which a dead letter (`record`, read as `letter`) goes back to its topic.

    `redrive` says which redrive it is, where that is not simply the one after the last that failed.
    """
    added = [(REDRIVE, b"%d" % (redrive or letter.retry_count + 1))]
    if letter.group:
        added.append((REDRIVE_FOR, _bytes(letter.group)))
    if letter.handlers:
        added.append((REDRIVE_HANDLERS, _json(letter.handlers)))
    kept = [one for one in without_dlq(record.headers) if one[0] not in _REDRIVE_HEADERS]
    return [*kept, *added]


def resolved(record: Record, *, action: str, redrive: int = 0, note: str = "") -> Envelope:
    """The event that says what became of a dead letter, to be stamped: `REDRIVEN` or `DROPPED`."""
    return Envelope(
        type=DEAD_LETTER_RESOLVED,
        stream_id=f"dlq/{record.topic}/{record.partition}/{record.position}",
        payload={
            "topic": record.topic,
            "partition": record.partition,
            "position": record.position,
            "id": _text(header(record.headers, CE_ID)),
            "action": action,
            "redrive": redrive,
            "note": note,
        },
    )


def redrive_of(headers: Iterable[Header]) -> int:
    """Which redrive a record is; 0 for the original, and for what is no number."""
    value = header(headers, REDRIVE)
    return int(value) if value is not None and value.isdigit() and len(value) < 10 else 0


def without_dlq(headers: Iterable[Header]) -> list[Header]:
    """The headers that the original record had."""
    return [one for one in headers if not one[0].startswith(DLQ_PREFIX)]


def cut_middle(text: bytes, bytes_max: int) -> bytes:
    """UTF-8 text of at most so many bytes: both ends stay, a mark says how much is missing."""
    if len(text) <= bytes_max:
        return text
    mark = f"\n… {len(text) - bytes_max:,} bytes cut …\n".encode()
    room = bytes_max - len(mark)
    head, tail = text[: room - room // 2], text[len(text) - room // 2 :]
    # A character that the cut went through is left out.
    return b"".join(
        (
            head.decode(errors="ignore").encode(),
            mark,
            tail.decode(errors="ignore").encode(),
        )
    )


def _handlers(names: Sequence[str]) -> bytes:
    listed = _json([_bytes(name).decode() for name in names])
    return listed if len(listed) <= HANDLERS_BYTES_MAX else b"[]"


def _context(context: Mapping[str, Any]) -> bytes:
    """The context as a JSON object of bounded size; `left_out` counts what had no room."""
    parts: list[bytes] = []
    room, left_out = CONTEXT_BYTES_MAX - _LEFT_OUT_ROOM, 0
    for name, value in context.items():
        text = _json_of(value)
        if len(text) > CONTEXT_VALUE_BYTES_MAX:
            text = _json(cut_middle(text, CONTEXT_VALUE_BYTES_MAX // 2).decode())
        part = b"%b:%b" % (_json_of(str(name)), text)
        if len(part) + 1 > room:
            left_out += 1
        else:
            room -= len(part) + 1
            parts.append(part)
    if left_out:
        parts.append(b'"%b":%d' % (_LEFT_OUT.encode(), left_out))
    return b"{%b}" % b",".join(parts)


def _json_of(value: Any) -> bytes:
    """JSON of anything; what has none is told by its type."""
    try:
        return _json(value)
    except Exception:  # noqa: BLE001 - a value's own __str__ may raise anything
        return _json(f"<{type(value).__name__} that is no JSON>")


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")


def _text(value: bytes | None) -> str:
    return value.decode(errors="replace") if value is not None else ""
