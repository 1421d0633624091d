"""Kafka headers: what consumers and Kafka's own tools need to know before they decode a value.

They repeat the envelope, in text; the value is the truth. The `ce_` ones are CloudEvents' (Kafka
protocol binding 1.0, binary content mode), so that any CloudEvents reader finds its way.
Built once per record on the publisher's hot path: what one type has in common is made once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import Final

import msgspec

from streams.envelope import ORIGIN as ORIGIN_HEADER
from streams.envelope import Envelope, Kind, Lane
from streams.errors import DecodeError, InvalidEnvelope

TYPE: Final = "type"
KIND: Final = "kind"
LANE: Final = "lane"
PRIORITY: Final = "priority"
RECIPIENTS: Final = "recipients"
"""A JSON array of agent ids; absent means everyone."""
EXPIRES_AT_MS: Final = "expires_at_ms"
"""Epoch milliseconds, decimal; absent means never."""
TRACEPARENT: Final = "traceparent"
ORIGIN: Final = "origin"
CE_ID: Final = "ce_id"
CE_SOURCE: Final = "ce_source"
CE_TYPE: Final = "ce_type"
CE_TIME: Final = "ce_time"
CE_SPECVERSION: Final = "ce_specversion"
REDRIVE: Final = "redrive"
"""Which redrive of a dead letter this record is, decimal from 1; absent means the original."""
REDRIVE_FOR: Final = "redrive_for"
"""Full name of the group that a redrive is for; other groups skip it."""
REDRIVE_HANDLERS: Final = "redrive_handlers"
"""A JSON array of the handlers that had failed; a redrive runs these alone."""
REPLAY_OF: Final = "replay_of"
"""Id of the envelope that this record repeats; live groups skip it."""

Header = tuple[str, bytes]

_US_PER_SECOND: Final = 1_000_000
_SECONDS_PER_DAY: Final = 86_400
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_TWO_DIGITS: Final = tuple(f"{n:02d}" for n in range(60))
_recipients_json: Final = msgspec.json.Encoder().encode


@lru_cache(maxsize=4096)
def _constants(type_name: str, kind: Kind, lane: Lane, priority: int) -> tuple[Header, ...]:
    name = type_name.encode()
    return (
        (TYPE, name),
        (KIND, kind.encode()),
        (LANE, lane.encode()),
        (PRIORITY, b"%d" % priority),
        (CE_SPECVERSION, b"1.0"),
        (CE_TYPE, name),
    )


@lru_cache(maxsize=4096)
def _date(day: int) -> str:
    """`YYYY-MM-DDT` of a day since the epoch."""
    try:
        return f"{date.fromordinal(_EPOCH_DAY + day).isoformat()}T"
    except (ValueError, OverflowError) as error:
        raise InvalidEnvelope("created_at", f"lies outside the years 1 to 9999: {error}") from error


def rfc3339(epoch_us: int) -> str:
    """UTC microseconds since the epoch as `2026-01-31T12:00:00.000000Z`, without a datetime."""
    seconds, micros = divmod(epoch_us, _US_PER_SECOND)
    day, second = divmod(seconds, _SECONDS_PER_DAY)
    hour, second = divmod(second, 3600)
    minute, second = divmod(second, 60)
    two = _TWO_DIGITS
    return f"{_date(day)}{two[hour]}:{two[minute]}:{two[second]}.{micros:06d}Z"


def record_headers(envelope: Envelope) -> list[Header]:
    """The Kafka headers of a stamped envelope."""
    found: list[Header] = [
        *_constants(envelope.type, envelope.kind, envelope.lane, envelope.priority),
        (CE_ID, envelope.id.encode()),
        (CE_SOURCE, envelope.sender.encode()),
        (CE_TIME, rfc3339(envelope.created_at).encode()),
    ]
    if envelope.recipients:
        found.append((RECIPIENTS, _recipients_json(envelope.recipients)))
    if envelope.ttl_ms > 0:
        found.append((EXPIRES_AT_MS, b"%d" % (envelope.created_at // 1000 + envelope.ttl_ms)))
    annotations = envelope.headers
    if annotations:
        found += [
            (name, annotations[name].encode())
            for name in (TRACEPARENT, ORIGIN_HEADER)
            if name in annotations
        ]
    return found


class RecordFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers say about a record, for readers that decide before they decode."""

    type: str = ""
    kind: Kind = Kind.UNKNOWN
    lane: Lane = Lane.DATA
    priority: int = 3
    recipients: tuple[str, ...] = ()
    expires_at_ms: int | None = None
    traceparent: str | None = None
    origin: str | None = None
    id: str = ""
    sender: str = ""


_KINDS: Final[Mapping[bytes, Kind]] = {kind.value.encode(): kind for kind in Kind}
_LANES: Final[Mapping[bytes, Lane]] = {lane.value.encode(): lane for lane in Lane}
_decode_recipients: Final = msgspec.json.Decoder(tuple[str, ...]).decode


def read_headers(headers: Iterable[Header]) -> RecordFacts:
    """Parse what `record_headers` wrote; what is absent reads as its default.

    Raises `DecodeError` naming the header whose value is not what it should be.
    """
    found = dict(headers)
    try:
        expires = found.get(EXPIRES_AT_MS)
        recipients = found.get(RECIPIENTS)
        return RecordFacts(
            type=found.get(TYPE, b"").decode(),
            kind=_KINDS.get(found.get(KIND, b""), Kind.UNKNOWN),
            lane=_LANES.get(found.get(LANE, b""), Lane.DATA),
            priority=int(found.get(PRIORITY, b"3")),
            recipients=_decode_recipients(recipients) if recipients else (),
            expires_at_ms=int(expires) if expires is not None else None,
            traceparent=_text(found.get(TRACEPARENT)),
            origin=_text(found.get(ORIGIN)),
            id=found.get(CE_ID, b"").decode(),
            sender=found.get(CE_SOURCE, b"").decode(),
        )
    except (ValueError, AttributeError, TypeError, msgspec.MsgspecError) as error:
        # (Kafka allows a header without a value.)
        raise DecodeError(f"Kafka headers: {error}") from error


def header(headers: Iterable[Header], name: str) -> bytes | None:
    """One header's value, the first of its name; None if it is absent."""
    for found, value in headers:
        if found == name:
            return value
    return None


def _text(value: bytes | None) -> str | None:
    return value.decode() if value is not None else None
