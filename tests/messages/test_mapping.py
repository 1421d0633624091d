"""The S3 message: what is read, what is refused and how it is said, and that nothing gets lost."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.envelope import Envelope, Kind, Lane
from streams.messages import PAYLOAD_TYPES, InvalidMessage, parse_message, to_message
from streams.schemas import Catalogue, Codec

DATA = Path(__file__).parents[1] / "data"
ID = "msg-1376409446000-2tn3u9v7i"
NOON = "2026-01-31T12:00:00.000000Z"


def message(**fields: Any) -> dict[str, Any]:
    base = {
        "id": ID,
        "from": "agent-0",
        "to": "agent-1",
        "type": "request",
        "timestamp": NOON,
        "payload": {},
    }
    return {name: value for name, value in {**base, **fields}.items() if value is not ...}


def task(**fields: Any) -> dict[str, Any]:
    return message(
        type="task_assignment", payload={"task": {"id": "t", "type": "change", **fields}}
    )


def problems(bad: dict[str, Any] | str, **options: Any) -> str:
    with pytest.raises(InvalidMessage) as caught:
        parse_message(bad if isinstance(bad, str) else json.dumps(bad), **options)
    return str(caught.value)


@pytest.mark.parametrize("field", ["id", "from", "to", "type", "timestamp", "payload"])
def test_s3_01_required_fields(field: str) -> None:
    """S3.1: each of the six is required."""
    assert problems(message(**{field: ...})) == f"Missing required field: {field}"
    assert f"Missing required field: {field}" in problems(message(**{field: None}))


@pytest.mark.parametrize(
    "id_",
    [
        "msg-137640944600-2tn3u9v7i",
        "msg-1376409446000-2TN3U9V7I",
        "msg-1376409446000-2tn3u9v7i\n",
        "x",
        "",
    ],
)
def test_s3_01_ids_have_one_form(id_: str) -> None:
    """S3.1: `^msg-[0-9]{13}-[a-z0-9]{9}$`."""
    assert "id" in problems(message(id=id_))


@pytest.mark.parametrize(
    ("to", "recipients", "pattern"),
    [
        ("agent-1", ("agent-1",), None),
        (["a", "b", "a"], ("a", "b"), None),
        ("*", (), "*"),
        ("agent-*", (), "agent-*"),
    ],
)
def test_s3_01_to_names_agents_or_a_pattern(
    to: Any, recipients: tuple[str, ...], pattern: str | None
) -> None:
    """S3.1: one agent, several, or a broadcast pattern; `*` is everyone."""
    envelope = parse_message(message(to=to))
    assert (envelope.recipients, envelope.broadcast_pattern) == (recipients, pattern)


@pytest.mark.parametrize("to", [[], [""], ["a", 1], 5, {"a": 1}, ["a", "*"]])
def test_s3_01_anything_else_is_refused(to: Any) -> None:
    assert problems(message(to=to)).startswith("to: ")


@pytest.mark.parametrize(
    "timestamp",
    [
        1_700_000_000,
        "1700000000",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "yesterday",
        "2026-02-30T00:00:00Z",
    ],
)
def test_s3_01_timestamps_are_iso_8601_with_an_offset(timestamp: Any) -> None:
    assert "ISO 8601" in problems(message(timestamp=timestamp))
    parsed = parse_message(message(timestamp="2026-01-31T13:00:00.5+01:00"))
    assert parsed.created_at_utc == datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)


@pytest.mark.parametrize("kind", sorted(PAYLOAD_TYPES))
def test_s3_02_every_type_of_the_enum_and_those_of_s3_19(kind: Kind) -> None:
    """S3.2, S3.19: each message type has a kind, a payload type and a way back."""
    payloads: dict[Kind, dict[str, Any]] = {
        Kind.TASK_ASSIGNMENT: task()["payload"],
        Kind.TASK_RESULT: {"task_id": "t", "status": "timeout"},
        Kind.STATUS_UPDATE: {"agent_status": "idle"},
        Kind.STATE_CHANGE: {"key": "k", "version": 1, "updated_by": "a", "updated_at": NOON},
        Kind.STATE_SYNC_REQUEST: {"key": "k"},
    }
    envelope = parse_message(message(type=kind.value, payload=payloads.get(kind, {"any": 1})))
    assert (envelope.kind, envelope.type) == (kind, PAYLOAD_TYPES[kind])
    assert envelope.lane is (Lane.SYSTEM if kind is Kind.SHUTDOWN else Lane.DATA)
    assert to_message(envelope)["type"] == kind.value


def test_s3_03_header_defaults() -> None:
    """S3.3: priority 3, ttl 30000, no ack, retry 0."""
    envelope = parse_message(message())
    assert (
        envelope.priority,
        envelope.ttl_ms,
        envelope.requires_ack,
        envelope.correlation_id,
        envelope.retry_count,
    ) == (3, 30_000, False, None, 0)
    assert parse_message(message(), ttl_ms_default=0).ttl_ms == 0
    assert parse_message(message(headers={"ttl": 0})).ttl_ms == 0


@pytest.mark.parametrize(
    ("headers", "text"),
    [
        ({"priority": 9}, "headers.priority: must be at most 5, not 9"),
        ({"priority": 0}, "headers.priority: must be at least 1, not 0"),
        ({"priority": "high"}, "headers.priority: must be an integer, not 'high'"),
        ({"priority": 2.5}, "headers.priority: must be an integer, not 2.5"),
        ({"ttl": -1}, "headers.ttl: must be at least 0, not -1"),
        ({"requires_ack": 1}, "headers.requires_ack: must be true or false, not 1"),
        ({"colour": "red"}, "headers.colour: unknown field"),
    ],
)
def test_s3_03_headers_out_of_bounds(headers: dict[str, Any], text: str) -> None:
    assert problems(message(headers=headers)) == text


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (message(to=...), "Missing required field: to"),
        (message(to=""), "Missing required field: to"),
        (message(type=...), "Missing required field: type"),
        (message(payload=...), "Missing required field: payload"),
        (message(type="gossip"), "Invalid message type: gossip"),
        (message(type="unknown"), "Invalid message type: unknown"),
        (message(type="x" * 10_000), f"Invalid message type: {'x' * 60}…"),
        (
            {},
            "Missing required field: to; Missing required field: type; "
            "Missing required field: payload",
        ),
    ],
)
def test_s3_04_error_texts(bad: dict[str, Any], text: str) -> None:
    """S3.4: the document's own words."""
    assert problems(bad) == text


def test_s3_04_a_draft_leaves_id_sender_and_time_to_the_publisher() -> None:
    """S3.4: keeps or generates the id; sets from and timestamp."""
    draft = parse_message(message(id=..., timestamp=..., **{"from": ...}), whole=False)
    assert (draft.id, draft.sender, draft.created_at) == ("", "", 0)
    assert parse_message(message(), whole=False).id == ID


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        ("{", "not JSON: EOF while parsing an object at line 1 column 1"),
        ("[]", "a message must be an object, not []"),
        ('"x"', "a message must be an object, not 'x'"),
    ],
)
def test_what_is_no_json_object_says_so(bad: str, text: str) -> None:
    assert problems(bad) == text


def test_unknown_fields_are_refused_so_that_nothing_is_lost() -> None:
    assert problems(message(colour="red")) == "colour: unknown field"
    assert problems(task(colour="red")) == "payload.task.colour: unknown field"


def test_s3_13_task_assignment() -> None:
    """S3.13: the task's fields, free parameters as canonical JSON text."""
    envelope = parse_message(
        task(
            description="d",
            parameters={"b": 1, "a": [None, "ü"]},
            deadline=NOON,
            priority=5,
            dependencies=["x"],
            resources={"cpu_limit": "2", "memory_limit": None, "timeout": 5},
        )
    )
    assert envelope.payload == {
        "task": {
            "id": "t",
            "type": "change",
            "description": "d",
            "parameters": '{"a":[null,"ü"],"b":1}',
            "deadline": datetime(2026, 1, 31, 12, tzinfo=UTC),
            "priority": 5,
            "dependencies": ["x"],
            "resources": {"cpu_limit": "2", "memory_limit": None, "timeout": 5},
        }
    }


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"priority": 6}, "payload.task.priority: must be at most 5, not 6"),
        ({"id": 5}, "payload.task.id: must be a string, not 5"),
        ({"parameters": []}, "payload.task.parameters: must be an object, not []"),
        ({"dependencies": ["a", 1]}, "payload.task.dependencies[1]: must be a string, not 1"),
        (
            {"resources": {"timeout": "1s"}},
            "payload.task.resources.timeout: must be an integer, not '1s'",
        ),
        (
            {"resources": {"timeout": 2**63}},
            f"payload.task.resources.timeout: must be at most {2**63 - 1}, not {2**63}",
        ),
    ],
)
def test_s3_13_what_is_wrong_has_a_path(fields: dict[str, Any], text: str) -> None:
    assert problems(task(**fields)) == text


def test_a_number_that_json_does_not_have_is_refused() -> None:
    assert "payload" in problems(json.dumps(message(payload={"x": float("nan")})))


def test_s3_14_task_result() -> None:
    """S3.14: result and details are free objects; memory_used is a number or a text."""
    error = {"code": "E", "message": "m", "details": {"x": 1}}
    envelope = parse_message(
        message(
            type="task_result",
            payload={
                "task_id": "t",
                "status": "failed",
                "result": None,
                "error": error,
                "metrics": {"execution_time": 5, "memory_used": "5 MB", "cpu_used": 1},
                "artifacts": ["a"],
            },
        )
    )
    assert envelope.payload["error"] == {"code": "E", "message": "m", "details": '{"x":1}'}
    assert envelope.payload["metrics"]["memory_used"] == "5 MB"
    assert problems(message(type="task_result", payload={"task_id": "t", "status": "done"})) == (
        "payload.status: 'done' is not completed, failed or timeout"
    )


def test_s3_15_status_update() -> None:
    """S3.15: percentages from 0 to 100, an eta in time."""
    status = {"agent_status": "busy", "progress": {"percentage": 101}}
    assert problems(message(type="status_update", payload=status)) == (
        "payload.progress.percentage: must be at most 100, not 101"
    )
    envelope = parse_message(
        message(
            type="status_update",
            payload={
                "agent_status": "busy",
                "current_tasks": ["t"],
                "progress": {"current_task": "t", "percentage": 50, "eta": NOON},
                "health": {"cpu_usage": 1, "memory_usage": 5, "load_average": 0.5},
            },
        )
    )
    assert to_message(envelope)["payload"]["progress"]["eta"] == NOON


def test_an_envelope_that_no_message_can_say_is_refused() -> None:
    envelope = parse_message(message())
    for change in (
        {"stream_version": 1},
        {"type": "agentlog.chat.MessagePosted"},
        {"lane": Lane.SYSTEM},
        {"headers": {"x": "y"}},
        {"kind": Kind.UNKNOWN},
    ):
        with pytest.raises(InvalidMessage):
            to_message(envelope.with_(**change))


def test_the_history_reads_without_loss_and_its_payloads_fit_their_schemas() -> None:
    codec = Codec(Catalogue.load())
    with gzip.open(DATA / "history-small.jsonl.gz") as lines:
        for line in lines:
            envelope, original = parse_message(line), json.loads(line)
            back = to_message(codec.decode(codec.encode(envelope)))
            assert back["payload"] == _filled(original["payload"])
            assert {**back["headers"]} == original["headers"]
            assert [back[name] for name in ("id", "from", "to", "type", "channel_id")] == [
                original[name] for name in ("id", "from", "to", "type", "channel_id")
            ]


def _filled(payload: dict[str, Any]) -> dict[str, Any]:
    if "task" in payload:
        empty = {"cpu_limit": None, "memory_limit": None, "timeout": None}
        payload["task"]["resources"] = {**empty, **payload["task"]["resources"]}
    return payload


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_objects = st.dictionaries(st.text(), _json, max_size=4)
_names = st.text(st.characters(exclude_characters="*", exclude_categories=["Cs"]), min_size=1)
_instants = st.datetimes(datetime(1980, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
_tasks = st.fixed_dictionaries(
    {"id": st.text(), "type": st.text()},
    optional={
        "description": st.text(),
        "parameters": _objects,
        "deadline": _instants.map(datetime.isoformat) | st.none(),
        "priority": st.integers(1, 5),
        "dependencies": st.lists(st.text()),
        "resources": st.fixed_dictionaries({}, optional={"timeout": st.integers(0, 2**62)}),
    },
)
_results = st.fixed_dictionaries(
    {"task_id": st.text(), "status": st.sampled_from(["completed", "failed", "timeout"])},
    optional={
        "result": _objects | st.none(),
        "error": st.fixed_dictionaries(
            {"code": st.text()}, optional={"details": _objects | st.none()}
        ),
        "metrics": st.fixed_dictionaries(
            {},
            optional={
                "memory_used": st.integers(0, 2**62) | st.text(),
                "cpu_used": st.floats(0, 1e9),
            },
        ),
    },
)
_bodies = st.one_of(
    st.tuples(st.just("task_assignment"), st.fixed_dictionaries({"task": _tasks})),
    st.tuples(st.just("task_result"), _results),
    st.tuples(st.sampled_from(["request", "event", "broadcast", "shutdown"]), _objects),
    st.tuples(
        st.just("state_change"),
        st.fixed_dictionaries(
            {
                "key": st.text(),
                "version": st.integers(1, 2**62),
                "updated_by": st.text(),
                "updated_at": _instants.map(datetime.isoformat),
                "full_value": _json,
            }
        ),
    ),
)
_messages = st.builds(
    lambda body, **fields: {"type": body[0], "payload": body[1], "id": ID, **fields},
    _bodies,
    **{"from": _names},
    to=_names | st.lists(_names, min_size=1, max_size=3) | st.just("*"),
    timestamp=_instants.map(datetime.isoformat),
    headers=st.fixed_dictionaries(
        {},
        optional={
            "priority": st.integers(1, 5),
            "ttl": st.integers(0, 2**40),
            "requires_ack": st.booleans(),
            "correlation_id": st.text(),
            "retry_count": st.integers(0, 5),
            "traceparent": st.text(),
        },
    ),
)
CODEC = Codec(Catalogue.load())


@given(_messages)
def test_a_message_survives_the_way_to_the_log_and_back(original: dict[str, Any]) -> None:
    """message → envelope → bytes → envelope → message → envelope: the same envelope."""
    envelope = parse_message(json.dumps(original))
    stored = CODEC.decode(CODEC.encode(envelope))
    assert stored.with_(payload=dict(stored.payload)) == envelope
    back: Envelope = parse_message(json.dumps(to_message(stored)))
    assert back == envelope
