"""Answers: where they go, what they say, and how they are read (S3.12)."""

from __future__ import annotations

from typing import Any

import pytest

from streams.answers import (
    FAILURE_CHARS_MAX,
    Failure,
    answered,
    failed,
    read_answer,
    stream_data,
    stream_ended,
    stream_started,
)
from streams.envelope import Envelope, Kind
from streams.errors import DecodeError, InvalidPayload, RequestFailed
from streams.requests import json_envelope, new_request
from streams.schemas import Catalogue, Codec
from streams.topics import REPLIES
from streams.topics.routing import Route, route

CODEC = Codec(Catalogue.load())
REQUEST = new_request(
    "weather-1",
    {"city": "Basel"},
    request_id="msg-1700000000000-aaaaaaaaa",
    correlation_id="c-1",
    reply_to="planner-1f",
    now_us=1_700_000_000_000_000,
    timeout_s=30,
).with_(sender="planner")
MAKERS = [
    answered(REQUEST, {"celsius": 21}),
    failed(REQUEST, "KeyError", "no such city"),
    stream_started(REQUEST, 1),
    stream_data(REQUEST, 1, 0, "It"),
    stream_ended(REQUEST, 1, 1),
    stream_ended(REQUEST, 1, 0, Failure("ValueError", "no")),
]


def stamped(answer: Envelope) -> Envelope:
    return answer.with_(id="msg-1700000000001-bbbbbbbbb", sender="weather-1", created_at=1)


def read(answer: Envelope) -> Any:
    """What an answer says, from its bytes on the log."""
    return read_answer(CODEC.decode(CODEC.encode(stamped(answer))), REQUEST.id).data


@pytest.mark.parametrize("answer", MAKERS, ids=lambda it: it.type.rpartition(".")[2])
def test_s3_12_every_answer_goes_to_the_inbox_that_the_request_names(answer: Envelope) -> None:
    """Kind response, correlation and request id of the request, keyed by its reply inbox."""
    assert (answer.kind, answer.recipients) == (Kind.RESPONSE, ("planner",))
    assert (answer.correlation_id, answer.causation_id) == ("c-1", REQUEST.id)
    assert answer.payload["request_id"] == REQUEST.id
    assert route(stamped(answer)) == (Route(REPLIES, b"planner-1f"),)
    assert dict(CODEC.decode(CODEC.encode(stamped(answer))).payload) == answer.payload


def test_s3_12_correlation_is_the_requests_or_its_id() -> None:
    """A request without a correlation id is answered under its own id, to its sender."""
    bare = REQUEST.with_(correlation_id=None, reply_to=None)
    answer = stamped(answered(bare, 1))
    assert answer.correlation_id == REQUEST.id
    assert route(answer) == (Route(REPLIES, b"planner"),)


@pytest.mark.parametrize(
    "data", [None, True, 0, 2**70, 1.5, "", "✓", [], [1, [2]], {}, {"b": 1, "a": {"c": None}}]
)
def test_s3_12_any_json_value_is_an_answer(data: Any) -> None:
    assert read(answered(REQUEST, data)) == data


@pytest.mark.parametrize("data", [object(), {"x": float("nan")}, {1, 2}, {b"x": 1}])
def test_what_is_no_json_is_refused_where_the_answer_is_made(data: Any) -> None:
    with pytest.raises(InvalidPayload, match="data: is no JSON value"):
        answered(REQUEST, data)
    with pytest.raises(InvalidPayload, match="data: is no JSON value"):
        stream_data(REQUEST, 1, 0, data)


def test_s3_12_success_false_is_an_error_with_the_handlers_words() -> None:
    with pytest.raises(RequestFailed, match=r"^KeyError: no such city$") as caught:
        read(failed(REQUEST, "KeyError", "no such city"))
    assert (caught.value.name, caught.value.message) == ("KeyError", "no such city")
    assert caught.value.request_id == REQUEST.id


@pytest.mark.parametrize(
    ("payload", "kind", "text"),
    [
        ({"success": False, "error": "no such city"}, Kind.RESPONSE, "no such city"),
        ({"success": False, "error": {"name": "E", "message": "m"}}, Kind.RESPONSE, "E: m"),
        ({"success": False}, Kind.RESPONSE, "Request failed"),
        ({"success": False, "error": None}, Kind.RESPONSE, "Request failed"),
        ({"error": "broken"}, Kind.ERROR, "broken"),
        ({}, Kind.ERROR, "Request failed"),
    ],
)
def test_s3_12_a_json_answer_fails_by_success_or_by_kind(
    payload: dict[str, Any], kind: Kind, text: str
) -> None:
    """`payload.error`, else "Request failed": agents that speak S3's JSON form are understood."""
    with pytest.raises(RequestFailed) as caught:
        read(json_envelope(payload).with_(kind=kind, reply_to="planner-1f"))
    assert str(caught.value) == text


def test_s3_12_a_json_answer_in_s3s_form_is_its_data() -> None:
    """{success, data, request_id} is opened; any other object is the answer itself."""
    answer = json_envelope({"success": True, "data": [1], "request_id": REQUEST.id})
    assert read(answer.with_(kind=Kind.RESPONSE, reply_to="i")) == [1]
    assert read(json_envelope({"celsius": 21}).with_(kind=Kind.RESPONSE, reply_to="i")) == {
        "celsius": 21
    }


def test_any_payload_type_may_answer() -> None:
    answer = Envelope(
        type="agentlog.task.TaskFinished",
        kind=Kind.RESPONSE,
        reply_to="i",
        payload={"task_id": "t", "status": "completed"},
    )
    assert read(answer)["status"] == "completed"


def test_data_that_is_no_json_cannot_be_read() -> None:
    """Anybody may write to the log."""
    answer = answered(REQUEST, 1)
    answer = answer.with_(payload={**answer.payload, "data": "{"})
    with pytest.raises(DecodeError, match="is not JSON"):
        read(answer)


def test_a_failure_always_fits_its_answer() -> None:
    """However long an exception's text is, and whatever it holds."""
    with pytest.raises(RequestFailed) as caught:
        read(failed(REQUEST, "UnicodeError", "\udc80" + "x" * 2_000_000))
    assert caught.value.message.startswith("?xxx")
    assert len(caught.value.message) == FAILURE_CHARS_MAX
