"""Answers: the envelopes that answer a request, made and read. Pure.

An answer goes back to the reply inbox that the request names (`reply_to`) and carries the request's
`correlation_id`, or its id if it has none. It is not stamped yet: publish it as any other envelope.
A short answer is one `RequestAnswered`; a long one is a stream: `StreamStarted`, `StreamDataSent`
for each piece, `StreamEnded` (`streams.reassembly` puts them together again).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from streams.envelope import Envelope, Kind
from streams.errors import DecodeError, InvalidPayload, RequestFailed
from streams.messages.mapping import JSON_TYPE, canonical_json

REQUEST_ANSWERED: Final = "agentlog.message.RequestAnswered"
STREAM_STARTED: Final = "agentlog.message.StreamStarted"
STREAM_DATA_SENT: Final = "agentlog.message.StreamDataSent"
STREAM_ENDED: Final = "agentlog.message.StreamEnded"
STREAM_TYPES: Final = frozenset({STREAM_STARTED, STREAM_DATA_SENT, STREAM_ENDED})

ANSWER_KINDS: Final = frozenset({Kind.RESPONSE, Kind.ERROR})

FAILURE_CHARS_MAX: Final = 8 * 1024
"""Characters of an error's message; what is longer is cut, so that the answer always fits."""


class Failure(NamedTuple):
    """What went wrong, as the handler said it: class of the error, and the error in words."""

    name: str
    message: str


class Answer(msgspec.Struct, frozen=True):
    """What a request was answered."""

    data: Any
    """The JSON value of an `agentlog.message.RequestAnswered` or `agentlog.Json`; of any other
    type its payload."""
    envelope: Envelope


def answered(request: Envelope, data: Any) -> Envelope:
    """The answer to a request: any JSON value. Raises `InvalidPayload` for anything else."""
    return _answer(
        request,
        REQUEST_ANSWERED,
        {"success": True, "data": _json_text(REQUEST_ANSWERED, data), "error": None},
    )


def failed(request: Envelope, error_name: str, message: str) -> Envelope:
    """Tells whoever asked that there is no answer, and why. Ends a stream, too."""
    error = _failure_fields(Failure(error_name, message))
    return _answer(request, REQUEST_ANSWERED, {"success": False, "data": None, "error": error})


def stream_started(request: Envelope, attempt: int) -> Envelope:
    """An answer in pieces begins; what an earlier attempt (from 1) had sent counts no more."""
    return _answer(request, STREAM_STARTED, {"attempt": attempt})


def stream_data(request: Envelope, attempt: int, sequence: int, data: Any) -> Envelope:
    """One piece, counted from 0: any JSON value. Raises `InvalidPayload` for anything else."""
    text = _json_text(STREAM_DATA_SENT, data)
    return _answer(
        request, STREAM_DATA_SENT, {"attempt": attempt, "sequence": sequence, "data": text}
    )


def stream_ended(
    request: Envelope, attempt: int, pieces: int, error: Failure | None = None
) -> Envelope:
    """The stream is whole after this many pieces, or has failed."""
    return _answer(
        request,
        STREAM_ENDED,
        {"attempt": attempt, "pieces": pieces, "error": error and _failure_fields(error)},
    )


def read_answer(envelope: Envelope, request_id: str) -> Answer:
    """What an answer in one envelope says, of any payload type.

    Raises `RequestFailed` if it says that there is none: kind `error`, or `success` false (S3.12,
    in `RequestAnswered` as in a JSON payload). Raises `DecodeError` if it cannot be read.
    """
    payload = envelope.payload
    data: Any = payload
    if envelope.type == REQUEST_ANSWERED:
        data = read_json(payload["data"]) if payload["data"] is not None else None
        said: Mapping[str, Any] = payload
    elif envelope.type == JSON_TYPE:
        data = read_json(payload["json"])
        said = data if isinstance(data, dict) else {}
        if said.get("success") is True and "data" in said:
            data = said["data"]
    else:
        said = payload
    if envelope.kind is Kind.ERROR or said.get("success") is False:
        failure = _read_failure(said.get("error"))
        raise RequestFailed(request_id, failure.name, failure.message)
    return Answer(data, envelope)


def read_json(text: str) -> Any:
    """The value that an answer's text stands for. Raises `DecodeError`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"an answer's data is not JSON: {error}") from error


def _answer(request: Envelope, type_name: str, fields: dict[str, Any]) -> Envelope:
    return Envelope(
        type=type_name,
        payload={"request_id": request.id, **fields},
        kind=Kind.RESPONSE,
        recipients=(request.sender,) if request.sender else (),
        reply_to=request.reply_to,
        correlation_id=request.correlation_id or request.id,
        causation_id=request.id,
    )


def _json_text(type_name: str, data: Any) -> str:
    try:
        return canonical_json(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidPayload(type_name, "data", f"is no JSON value: {error}") from error


def _failure_fields(failure: Failure) -> dict[str, str]:
    # An exception's text may hold anything: what is no Unicode text could not be encoded.
    name, message = (
        text[:FAILURE_CHARS_MAX].encode("utf-8", "replace").decode() for text in failure
    )
    return {"name": name, "message": message}


def _read_failure(error: Any) -> Failure:
    """The failure in any of the forms that agents use: a record, a JSON object, a text, nothing."""
    if isinstance(error, Mapping):
        return Failure(str(error.get("name") or ""), str(error.get("message") or ""))
    return Failure("", str(error or ""))
