"""An envelope on its way out: stamped, checked, encoded and routed, before any of it is sent.

Pure but for the clock and the random source it is given. Whatever is wrong with an envelope is
found here, so that nothing of it is on the log when it is refused.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple

from streams.envelope import Envelope, Kind
from streams.errors import EnvelopeTooLarge, InvalidEnvelope
from streams.headers import Header, record_headers
from streams.identity import message_id, random_suffix
from streams.ports import Clock
from streams.schemas import Codec, EventType
from streams.topics import Namespace
from streams.topics.routing import Route, route

_HEADERS_SHARE_MAX: Final = 8
_HEADERS_EXTRA_MAX: Final = 1024


class Outgoing(NamedTuple):
    """One envelope's records: the same value and headers under each route's topic and key."""

    envelope: Envelope
    event_type: EventType
    value: bytes
    headers: list[Header]
    routes: tuple[Route, ...]


class Outbox:
    """Makes envelopes ready to be sent, for one sender."""

    def __init__(
        self,
        codec: Codec,
        *,
        sender: str,
        clock: Clock,
        rng: random.Random,
        record_bytes_max: int,
        namespace: Namespace,
    ) -> None:
        self._codec = codec
        self._sender = sender
        self._clock = clock
        self._rng = rng
        self._record_bytes_max = record_bytes_max
        self._namespace = namespace

    def prepare(self, envelope: Envelope, *, versioned: bool = False) -> Outgoing:
        """The records that an envelope becomes.

        `versioned` lets it have a place in a stream: for the aggregate runtime alone. Raises
        `UnknownType`, `InvalidEnvelope`, `InvalidPayload`, `Unroutable`, `EnvelopeTooLarge`.
        """
        event_type = self._codec.catalogue.type(envelope.type)
        if envelope.stream_version is not None and not versioned:
            raise InvalidEnvelope("stream_version", "is for the aggregate runtime alone to set")
        if not (
            envelope.id
            and envelope.created_at
            and envelope.sender
            and envelope.kind is not Kind.UNKNOWN
        ):
            envelope = self._stamped(envelope, event_type)
        value = self._codec.encode(envelope)
        headers = record_headers(envelope)
        routes = route(envelope)
        # Headers repeat parts of the value, so a small value needs no closer look.
        if _HEADERS_SHARE_MAX * len(value) + _HEADERS_EXTRA_MAX > self._record_bytes_max:
            self._check_size(envelope, value, headers, routes)
        return Outgoing(envelope, event_type, value, headers, routes)

    def _stamped(self, envelope: Envelope, event_type: EventType) -> Envelope:
        now_us = self._clock.now_us()
        return envelope.with_(
            id=envelope.id or message_id(now_us // 1000, random_suffix(self._rng)),
            created_at=envelope.created_at or now_us,
            sender=envelope.sender or self._sender,
            kind=event_type.kind if envelope.kind is Kind.UNKNOWN else envelope.kind,
        )

    def _check_size(
        self, envelope: Envelope, value: bytes, headers: list[Header], routes: tuple[Route, ...]
    ) -> None:
        common = len(value) + sum(len(name.encode()) + len(content) for name, content in headers)
        for topic, key in routes:
            size = common + len(key)
            if size > self._record_bytes_max:
                raise EnvelopeTooLarge(
                    envelope.id, self._namespace.topic(topic), size, self._record_bytes_max
                )
