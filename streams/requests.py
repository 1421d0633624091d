"""Requests: the envelope that asks an agent, made ready to be waited for. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from streams.envelope import Envelope, Kind
from streams.errors import InvalidEnvelope, InvalidPayload
from streams.messages.mapping import JSON_TYPE, canonical_json


def new_request(
    to: str,
    payload: Envelope | Mapping[str, Any],
    *,
    request_id: str,
    correlation_id: str,
    reply_to: str,
    now_us: int,
    timeout_s: float,
) -> Envelope:
    """A request to one agent, which expires when nobody waits for its answer any more (S3.12).

    `payload` is a JSON object, or an envelope for any other payload type: it keeps its id, if it
    has one, and all that says nothing of where a request goes and how long it counts. Raises
    `InvalidEnvelope` for a timeout that is none and for an empty `to`, `InvalidPayload`.
    """
    # A ttl of 0 would never expire.
    if not (timeout_s > 0 and math.isfinite(timeout_s)):
        raise InvalidEnvelope("ttl_ms", f"timeout_s = {timeout_s} is no time to wait for an answer")
    if not to:
        raise InvalidEnvelope("recipients", "is empty; a request needs an agent to go to")
    envelope = payload if isinstance(payload, Envelope) else json_envelope(payload)
    return envelope.with_(
        id=envelope.id or request_id,
        kind=Kind.REQUEST,
        recipients=(to,),
        correlation_id=correlation_id,
        reply_to=reply_to,
        created_at=now_us,
        ttl_ms=math.ceil(timeout_s * 1000),
    )


def json_envelope(payload: Mapping[str, Any]) -> Envelope:
    """An envelope with any JSON object. Raises `InvalidPayload` for anything else."""
    try:
        text = canonical_json(dict(payload))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayload(JSON_TYPE, "json", f"is no JSON object: {error}") from error
    return Envelope(type=JSON_TYPE, payload={"json": text})
