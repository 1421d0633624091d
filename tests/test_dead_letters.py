"""The format of dead letters: what comes in comes out, within bounds, and the original is whole."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.dead_letters import (
    CONTEXT_BYTES_MAX,
    DEAD_LETTER_RESOLVED,
    DLQ_CONTEXT,
    DLQ_ERROR_MESSAGE,
    DLQ_ERROR_STACK,
    DLQ_HANDLERS,
    DLQ_POSITION,
    DLQ_TOPIC,
    DROPPED,
    ERROR_STACK_BYTES_MAX,
    DeadLetter,
    cut_middle,
    dead_letter_headers,
    redrive_headers,
    redrive_of,
    resolved,
    without_dlq,
)
from streams.errors import DecodeError
from streams.headers import Header
from streams.record import Record
from streams.schemas import Catalogue, Codec
from streams.topics.catalogue import DLQ_EXTRA_BYTES

GROUP_BYTES_MAX = 32_767
"""What Kafka's protocol can carry of a group's name."""

ORIGINAL = Record(
    topic="ns.tasks",
    partition=3,
    position=14,
    appended_at_ms=1_700_000_000_000,
    key=b"corr-1",
    value=b"\x00not avro",
    headers=(("type", b"agentlog.task.AssignTask"), ("ce_id", b"msg-1"), ("mine", b"\xff")),
)


def headers_of(record: Record = ORIGINAL, **changes: Any) -> list[Header]:
    return dead_letter_headers(
        record,
        **{
            "group": "ns.fleet",
            "handlers": ["on_task"],
            "attempts": 5,
            "error_name": "TimeoutError",
            "error_message": "the model did not answer",
            "stack": "Traceback\n  here",
            "failed_at_ms": 1_700_000_099_123,
            "context": {"app": "fleet", "run": "run-1", "agent": "agent-7"},
            **changes,
        },
    )


def dead(headers: list[Header], topic: str = "ns.tasks.dlq") -> Record:
    return Record(topic, 0, 12, 1_700_000_100_000, ORIGINAL.key, ORIGINAL.value, tuple(headers))


def read(headers: list[Header]) -> DeadLetter:
    return DeadLetter.from_record(dead(headers))


def size(headers: list[Header]) -> int:
    """Bytes on the log: name and value, and a varint of at most 3 bytes for the length of each."""
    return sum(len(name.encode()) + len(value) + 6 for name, value in headers)


def test_a_dead_letter_says_where_it_was_whose_it_is_and_what_went_wrong() -> None:
    letter = read(headers_of())
    assert letter == DeadLetter(
        topic="ns.tasks",
        partition=3,
        position=14,
        appended_at_ms=1_700_000_000_000,
        group="ns.fleet",
        handlers=("on_task",),
        attempts=5,
        error_name="TimeoutError",
        error_message="the model did not answer",
        error_stack="Traceback\n  here",
        failed_at_ms=1_700_000_099_123,
        retry_count=0,
        context={"app": "fleet", "run": "run-1", "agent": "agent-7"},
    )
    assert str(letter.source) == "ns.tasks[3]"


def test_s3_11_the_record_of_the_requirement_can_be_made_of_it() -> None:
    """S3.11: {message, error {name, message, stack}, context, failed_at, retry_count}."""
    assert read(headers_of()).document({"id": "msg-1"}) == {
        "message": {"id": "msg-1"},
        "error": {
            "name": "TimeoutError",
            "message": "the model did not answer",
            "stack": "Traceback\n  here",
        },
        "context": {"app": "fleet", "run": "run-1", "agent": "agent-7"},
        "failed_at": "2023-11-14T22:14:59.123000Z",
        "retry_count": 0,
    }


def test_the_original_headers_stay_and_those_of_an_earlier_death_do_not() -> None:
    """A dead letter that a repair agent fails on is one death, not two."""
    twice = headers_of(dead(headers_of(), topic="ns.tasks"), error_name="Second")
    assert twice[: len(ORIGINAL.headers)] == list(ORIGINAL.headers)
    assert [name for name, _ in twice].count(DLQ_TOPIC) == 1
    assert read(twice).error_name == "Second"
    assert tuple(without_dlq(twice)) == ORIGINAL.headers


def test_a_redrive_has_the_original_headers_and_says_for_whom_and_which_it_is() -> None:
    record = dead(headers_of())
    assert redrive_headers(record, DeadLetter.from_record(record)) == [
        *ORIGINAL.headers,
        ("redrive", b"1"),
        ("redrive_for", b"ns.fleet"),
        ("redrive_handlers", b'["on_task"]'),
    ]


def test_a_redrive_that_fails_again_counts_on() -> None:
    record = dead(headers_of())
    again = redrive_headers(record, DeadLetter.from_record(record))
    back = msgspec.structs.replace(ORIGINAL, headers=tuple(again))
    second = dead(headers_of(back, handlers=[]))
    letter = DeadLetter.from_record(second)
    assert (letter.retry_count, letter.handlers) == (1, ())
    third = redrive_headers(second, letter)
    assert [value for name, value in third if name == "redrive"] == [b"2"]
    assert "redrive_handlers" not in {name for name, _ in third}, "none got that far: all run"
    assert ("redrive", b"7") in redrive_headers(second, letter, redrive=7)


def test_what_no_group_had_read_is_redriven_for_everybody() -> None:
    """The publisher dead-letters what it cannot route: no position, no group."""
    unsent = msgspec.structs.replace(ORIGINAL, partition=-1, position=-1)
    record = dead(headers_of(unsent, group="", handlers=[], attempts=0))
    letter = DeadLetter.from_record(record)
    assert (letter.partition, letter.position, letter.group) == (-1, -1, "")
    assert redrive_headers(record, letter) == [*ORIGINAL.headers, ("redrive", b"1")]


@pytest.mark.parametrize("value", [b"", b"-1", b"x", b"\xb2", b"9" * 5000])
def test_a_redrive_number_that_is_none_counts_as_the_original(value: bytes) -> None:
    assert redrive_of([("redrive", value)]) == 0
    assert redrive_of([]) == 0
    assert redrive_of([("redrive", b"12")]) == 12


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
    | st.just(object()) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(
    group=st.text(max_size=50) | st.just("g" * GROUP_BYTES_MAX),
    handlers=st.lists(st.text() | st.just("h" * 900) | st.just("\udcff"), max_size=9),
    name=st.text() | st.just("é" * 500),
    text=st.text() | st.just("\U0001f600" * 9_000) | st.just("\udcff" * 9_000),
    context=st.dictionaries(
        st.text() | st.just("\ud800") | st.just("k" * 9_000),
        anything | st.just("\\" * 2_000) | st.just("\U0001f600" * 300),
        max_size=12,
    ),
)
def test_whatever_comes_in_the_headers_fit_and_can_be_read(
    group: str, handlers: list[str], name: str, text: str, context: dict[str, Any]
) -> None:
    """A dead letter must always be writable: the topic has room for `DLQ_EXTRA_BYTES` more."""
    headers = headers_of(
        group=group,
        handlers=handlers,
        error_name=name,
        error_message=text,
        stack=text * 2,
        context=context,
    )
    own = headers[len(ORIGINAL.headers) :]
    assert size(own) <= DLQ_EXTRA_BYTES
    letter = read(headers)
    assert len(letter.error_message) <= 2_000
    assert len(dict(own)[DLQ_CONTEXT]) <= CONTEXT_BYTES_MAX
    assert len(dict(own)[DLQ_ERROR_STACK]) <= ERROR_STACK_BYTES_MAX


def test_the_largest_there_can_be_fits() -> None:
    face = "\U0001f600"
    headers = headers_of(
        group="g" * GROUP_BYTES_MAX,
        handlers=["h" * 1_000] * 4,
        attempts=2**62,
        error_name=face * 999,
        error_message=face * 9_999,
        stack=face * 9_999,
        context={str(n): "\\" * 480 for n in range(100)},
    )
    assert 50_000 < size(headers) <= DLQ_EXTRA_BYTES
    letter = read(headers)
    assert letter.group == "g" * GROUP_BYTES_MAX
    assert letter.error_message == face * 2_000
    assert letter.context["left_out"] > 80


def test_a_long_stack_keeps_both_ends_and_says_what_is_missing() -> None:
    stack = "entry point\n" + "é frame\n" * 5_000 + "ValueError: the cause"
    cut = read(headers_of(stack=stack)).error_stack
    assert cut.startswith("entry point\n")
    assert cut.endswith("ValueError: the cause")
    assert "bytes cut …" in cut


@given(st.text(), st.integers(64, 200))
def test_a_cut_text_is_text(text: str, bytes_max: int) -> None:
    raw = text.encode()
    cut = cut_middle(raw * 20, bytes_max)
    assert len(cut) <= bytes_max
    cut.decode()
    assert cut_middle(raw, len(raw)) == raw


def test_handlers_that_do_not_fit_are_not_told_so_that_all_run() -> None:
    """Half a list would leave handlers out for ever."""
    assert dict(headers_of(handlers=["h" * 1_000] * 5))[DLQ_HANDLERS] == b"[]"


def without(name: str) -> list[Header]:
    return [one for one in headers_of() if one[0] != name]


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        (list(ORIGINAL.headers), "no dead letter: it has no header 'dlq_topic'"),
        (without(DLQ_POSITION), "no header 'dlq_position'"),
        ([*without(DLQ_POSITION), (DLQ_POSITION, b"here")], "no dead letter that can be read"),
        ([*without(DLQ_HANDLERS), (DLQ_HANDLERS, b"{}")], "no dead letter that can be read"),
        ([*without(DLQ_CONTEXT), (DLQ_CONTEXT, b"[" * 9_000)], "no dead letter that can be read"),
        ([*without(DLQ_ERROR_MESSAGE), (DLQ_ERROR_MESSAGE, b"\xff")], "that can be read"),
        ([*without(DLQ_TOPIC), (DLQ_TOPIC, None)], "no dead letter that can be read"),
        ([*without(DLQ_TOPIC), (DLQ_TOPIC, b"ns.events")], "it says ns.events"),
    ],
)
def test_what_is_no_dead_letter_is_a_decode_error(headers: list[Any], problem: str) -> None:
    """Anybody may write to a topic; a redrive never goes where a forged header says."""
    with pytest.raises(DecodeError, match=problem):
        read(headers)


def test_a_resolution_is_an_event_that_the_catalogue_knows() -> None:
    envelope = resolved(dead(headers_of()), action=DROPPED, note="twice paid")
    assert envelope.type == DEAD_LETTER_RESOLVED
    assert envelope.stream_id == "dlq/ns.tasks.dlq/0/12"
    codec = Codec(Catalogue.load())
    stamped = envelope.with_(id="msg-0000000000001-aaaaaaaaa", sender="me", created_at=1)
    assert dict(codec.decode(codec.encode(stamped)).payload) == {
        "topic": "ns.tasks.dlq",
        "partition": 0,
        "position": 12,
        "id": "msg-1",
        "action": "dropped",
        "redrive": 0,
        "note": "twice paid",
    }
