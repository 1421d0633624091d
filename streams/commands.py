"""Commands to aggregates, and what they are answered. Pure.

A command is an envelope of kind `command` for one stream; whoever owns the stream decides on it.
The answer says what became of it, the stream's version, and where its events end on the log: a read
model that has passed that position has seen them (read your writes).
"""

from __future__ import annotations

import math
from typing import Any, Final

import cbor2
import msgspec

from streams.answers import read_answer
from streams.envelope import Envelope, Kind
from streams.errors import CommandRejected, DecodeError, InvalidEnvelope, VersionConflict
from streams.record import Partition

COMMAND_ANSWERED: Final = "agentlog.aggregate.CommandAnswered"


class Commanded(msgspec.Struct, frozen=True):
    """A command was carried out."""

    stream_id: str
    version: int
    """Of the stream afterwards: how many events it has."""
    events: int
    """How many of them the command led to; it may be none."""
    source: Partition
    """Where its events are."""
    position: int | None
    """Of the last of them; None if there are none."""


def new_command(
    envelope: Envelope,
    *,
    request_id: str,
    correlation_id: str,
    reply_to: str,
    now_us: int,
    timeout_s: float,
) -> Envelope:
    """A command that is answered to `reply_to`, and expires when nobody waits for that any more.

    `envelope` names the stream (`stream_id`) and, if it must be at one, its version
    (`expected_version`). Raises `InvalidEnvelope` for a timeout that is none and without a stream.
    """
    if not (timeout_s > 0 and math.isfinite(timeout_s)):
        raise InvalidEnvelope("ttl_ms", f"timeout_s = {timeout_s} is no time to wait for an answer")
    if not envelope.stream_id:
        raise InvalidEnvelope("stream_id", "is missing; a command is for one stream")
    return envelope.with_(
        id=envelope.id or request_id,
        kind=Kind.COMMAND,
        recipients=(),
        correlation_id=correlation_id,
        reply_to=reply_to,
        created_at=now_us,
        ttl_ms=math.ceil(timeout_s * 1000),
    )


def read_commanded(envelope: Envelope, request_id: str) -> Commanded:
    """What an answer says. Raises `CommandRejected`; `VersionConflict` with the stream's version
    and state; `RequestFailed` if nobody could decide; `DecodeError` for what is no such answer.
    """
    said = envelope.payload
    if envelope.type != COMMAND_ANSWERED:
        read_answer(envelope, request_id)  # the worker's own: it could not be decided on
        raise DecodeError(f"{envelope.id} is a {envelope.type}, and answers no command")
    verdict, version, error = said["verdict"], said["version"], said["error"]
    if verdict == "conflict":
        raise VersionConflict(request_id, said["stream_id"], version, _state(said["state"]))
    if verdict != "accepted":
        name, message = (error["name"], error["message"]) if error else (verdict, "")
        raise CommandRejected(request_id, said["stream_id"], name, message)
    return Commanded(
        said["stream_id"],
        version,
        said["events"],
        Partition(said["topic"], said["partition"]),
        said["position"] if said["position"] >= 0 else None,
    )


def _state(raw: bytes | None) -> Any:
    try:
        return cbor2.loads(raw) if raw is not None else None
    except (cbor2.CBORDecodeError, ValueError) as error:
        raise DecodeError(f"the state in an answer is no CBOR: {error}") from error
