"""Where an envelope goes: one test per row of the table, and that every envelope has an answer."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.envelope import Envelope, Kind, Lane
from streams.errors import Unroutable
from streams.topics import TOPICS
from streams.topics.routing import RULES, Route, route, topics_for


def envelope(type_name: str = "agentlog.Json", **fields: Any) -> Envelope:
    stamped: dict[str, Any] = {
        "id": "msg-0000000000001-aaaaaaaaa",
        "sender": "me",
        "kind": Kind.EVENT,
        "payload": {},
    }
    return Envelope(type=type_name, **{**stamped, **fields})


ROWS = [
    (
        "the system lane, by session",
        envelope(lane=Lane.SYSTEM, session_id="s", recipients=("a",)),
        [("control", b"s")],
    ),
    (
        "the system lane, by target",
        envelope(lane=Lane.SYSTEM, recipients=("a", "b")),
        [("control", b"a")],
    ),
    ("the system lane, for all", envelope(lane=Lane.SYSTEM), [("control", b"*")]),
    (
        "the system lane wins over kind",
        envelope(lane=Lane.SYSTEM, kind=Kind.TASK_ASSIGNMENT),
        [("control", b"*")],
    ),
    ("shutdown", envelope(kind=Kind.SHUTDOWN, recipients=("a",)), [("control", b"a")]),
    (
        "a task, by correlation",
        envelope(kind=Kind.TASK_ASSIGNMENT, correlation_id="c"),
        [("tasks", b"c")],
    ),
    (
        "a task, by its own id",
        envelope(kind=Kind.TASK_ASSIGNMENT),
        [("tasks", b"msg-0000000000001-aaaaaaaaa")],
    ),
    (
        "a task's result, one record for many",
        envelope(kind=Kind.TASK_RESULT, correlation_id="c", recipients=("a", "b")),
        [("tasks", b"c")],
    ),
    (
        "chat",
        envelope("agentlog.chat.MessagePosted", channel_id="ch", recipients=("a", "b")),
        [("channels", b"ch")],
    ),
    (
        "a response, by reply inbox",
        envelope(kind=Kind.RESPONSE, reply_to="proc-1", recipients=("a", "b")),
        [("replies", b"proc-1")],
    ),
    (
        "an error, one per recipient",
        envelope(kind=Kind.ERROR, recipients=("a", "b")),
        [("replies", b"a"), ("replies", b"b")],
    ),
    (
        "a request, one per recipient, each once",
        envelope(kind=Kind.REQUEST, recipients=("a", "b", "a")),
        [("inbox", b"a"), ("inbox", b"b")],
    ),
    ("a notification", envelope(kind=Kind.NOTIFICATION, recipients=("a",)), [("inbox", b"a")]),
    (
        "a state change to somebody",
        envelope(kind=Kind.STATE_CHANGE, recipients=("a",)),
        [("inbox", b"a")],
    ),
    (
        "a state sync request",
        envelope(kind=Kind.STATE_SYNC_REQUEST, recipients=("a",)),
        [("inbox", b"a")],
    ),
    ("a state change for all", envelope(kind=Kind.STATE_CHANGE, stream_id="k"), [("events", b"k")]),
    ("a command", envelope(kind=Kind.COMMAND, stream_id="order-1"), [("commands", b"order-1")]),
    (
        "the journal",
        envelope(
            "agentlog.journal.OutcomesRecorded",
            payload={"group": "g", "topic": "t", "partition": 3},
        ),
        [("journal", b"g/t/3")],
    ),
    ("an event, by stream", envelope(stream_id="s", correlation_id="c"), [("events", b"s")]),
    ("an event, by correlation", envelope(correlation_id="c"), [("events", b"c")]),
    ("an event, by sender", envelope(), [("events", b"me")]),
    (
        "a broadcast is one record",
        envelope(kind=Kind.BROADCAST, recipients=("a", "b")),
        [("events", b"me")],
    ),
    ("a response to nobody in particular", envelope(kind=Kind.RESPONSE), [("events", b"me")]),
    (
        "status",
        envelope("agentlog.agent.StatusReported", kind=Kind.STATUS_UPDATE, recipients=("a",)),
        [("events", b"me")],
    ),
]


@pytest.mark.parametrize(
    ("given_", "wanted"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_each_row_of_the_table(given_: Envelope, wanted: list[tuple[str, bytes]]) -> None:
    assert list(route(given_)) == [Route(*record) for record in wanted]


@pytest.mark.parametrize(
    ("given_", "needs"),
    [
        (envelope("agentlog.chat.MessagePosted"), "channel_id"),
        (envelope("agentlog.chat.ChannelCleared", channel_id=""), "channel_id"),
        (envelope(kind=Kind.COMMAND, recipients=("a",)), "stream_id"),
        (envelope("agentlog.journal.OutcomesRecorded"), "group, topic and partition"),
        (envelope(kind=Kind.REQUEST, recipients=("a", "")), "recipients"),
        (envelope(sender=""), "sender"),
    ],
)
def test_a_missing_key_is_unroutable_and_says_what_to_set(given_: Envelope, needs: str) -> None:
    with pytest.raises(Unroutable, match=f"set .*{needs}"):
        route(given_)


def test_s3_04_one_record_per_recipient() -> None:
    """S3.4: one delivery per recipient."""
    names = tuple(f"agent-{n}" for n in range(50))
    routes = route(envelope(kind=Kind.REQUEST, recipients=names))
    assert [key.decode() for _, key in routes] == list(names)


_texts = st.none() | st.text(max_size=5) | st.text(st.characters(), max_size=3)
_types = (
    st.sampled_from(
        [
            "agentlog.Json",
            "agentlog.chat.MessagePosted",
            "acme.Thing",
            "agentlog.journal.OutcomesRecorded",
        ]
    )
    | st.text()
)


@given(
    st.builds(
        Envelope,
        type=_types,
        payload=st.dictionaries(st.sampled_from(["group", "topic"]), st.text()),
        id=st.text(),
        kind=st.sampled_from(Kind),
        sender=st.text(),
        recipients=st.lists(st.text()).map(tuple),
        correlation_id=_texts,
        channel_id=_texts,
        session_id=_texts,
        reply_to=_texts,
        lane=st.sampled_from(Lane),
        stream_id=_texts,
    )
)
def test_every_envelope_has_routes_or_is_unroutable(any_envelope: Envelope) -> None:
    """Totality: no other exception, no empty answer, no empty key, only topics that exist."""
    try:
        routes = route(any_envelope)
    except Unroutable:
        return
    assert routes
    assert all(topic in TOPICS and key for topic, key in routes)


def test_a_key_that_is_no_unicode_text_is_unroutable() -> None:
    with pytest.raises(Unroutable, match="not Unicode"):
        route(envelope(correlation_id="\ud800"))


def test_the_last_row_fits_everything() -> None:
    assert RULES[-1].fits(Lane.DATA, Kind.UNKNOWN, "", addressed=True)
    assert {rule.topic for rule in RULES} <= TOPICS.keys()


@pytest.mark.parametrize(
    ("kind", "type_name", "expected"),
    [
        (Kind.TASK_RESULT, "agentlog.task.TaskFinished", ("tasks",)),
        (Kind.REQUEST, "agentlog.Json", ("inbox", "events")),
        (Kind.RESPONSE, "agentlog.message.RequestAnswered", ("replies", "events")),
        (Kind.EVENT, "agentlog.chat.MessagePosted", ("channels",)),
        (Kind.EVENT, "agentlog.journal.OutcomesRecorded", ("journal",)),
    ],
)
def test_a_kind_and_a_type_say_which_topics_it_can_be(
    kind: Kind, type_name: str, expected: tuple[str, ...]
) -> None:
    """Addressed first, then to nobody in particular."""
    assert topics_for(kind, type_name) == expected
