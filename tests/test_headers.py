"""Kafka headers: what readers learn before they decode, and that CloudEvents readers do too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.envelope import Envelope, Kind, Lane
from streams.errors import DecodeError, InvalidEnvelope
from streams.headers import RecordFacts, header, read_headers, record_headers, rfc3339

ENVELOPE = Envelope(
    type="agentlog.task.AssignTask",
    payload={},
    id="msg-1376409446000-2tn3u9v7i",
    kind=Kind.TASK_ASSIGNMENT,
    sender="agent-0",
    recipients=("a,b", 'c"d'),
    priority=5,
    created_at=1_376_409_446_123_456,
    ttl_ms=30_000,
    lane=Lane.SYSTEM,
    headers={"traceparent": "00-1-2-01", "origin": "import:x", "import_seq": "7"},
)


def test_kind_and_lane_may_be_plain_words() -> None:
    """A sender that writes `kind="request"` means `Kind.REQUEST`."""
    plain = ENVELOPE.with_(kind="task_assignment", lane="system")
    assert record_headers(plain) == record_headers(ENVELOPE)


@pytest.mark.parametrize("seq", ["first", "", "-1", "１", "9" * 5000])
def test_an_import_seq_that_is_no_number_counts_as_none(seq: str) -> None:
    """Folds read it from records that anybody may have written."""
    assert ENVELOPE.with_(headers={"import_seq": seq}).import_seq is None


def test_the_headers_are_the_envelopes_routing_fields_and_cloudevents() -> None:
    assert dict(record_headers(ENVELOPE)) == {
        "type": b"agentlog.task.AssignTask",
        "kind": b"task_assignment",
        "lane": b"system",
        "priority": b"5",
        "recipients": b'["a,b","c\\"d"]',
        "expires_at_ms": b"1376409476123",
        "traceparent": b"00-1-2-01",
        "origin": b"import:x",
        "ce_id": b"msg-1376409446000-2tn3u9v7i",
        "ce_source": b"agent-0",
        "ce_type": b"agentlog.task.AssignTask",
        "ce_time": b"2013-08-13T15:57:26.123456Z",
        "ce_specversion": b"1.0",
    }


def test_readers_get_back_what_was_written() -> None:
    assert read_headers(record_headers(ENVELOPE)) == RecordFacts(
        type=ENVELOPE.type,
        kind=ENVELOPE.kind,
        lane=Lane.SYSTEM,
        priority=5,
        recipients=("a,b", 'c"d'),
        expires_at_ms=ENVELOPE.expires_at_ms,
        traceparent="00-1-2-01",
        origin="import:x",
        id=ENVELOPE.id,
        sender="agent-0",
    )


def test_what_is_absent_reads_as_its_default_and_a_new_kind_as_unknown() -> None:
    assert read_headers([]) == RecordFacts()
    assert read_headers([("kind", b"from the future")]).kind is Kind.UNKNOWN
    plain = ENVELOPE.with_(recipients=(), ttl_ms=0, headers={})
    names = {name for name, _ in record_headers(plain)}
    assert not names & {"recipients", "expires_at_ms", "traceparent", "origin"}


@pytest.mark.parametrize(
    "bad", [("priority", b"high"), ("expires_at_ms", b""), ("recipients", b"a"), ("type", b"\xff")]
)
def test_headers_that_are_not_ours_are_a_decode_error(bad: tuple[str, bytes]) -> None:
    with pytest.raises(DecodeError):
        read_headers([bad])


def test_the_first_header_of_a_name_counts() -> None:
    assert header([("x", b"1"), ("x", b"2")], "x") == b"1"
    assert header([], "x") is None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = (datetime(1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_LAST = (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC) - _EPOCH) // timedelta(
    microseconds=1
)


@given(st.integers(_FIRST, _LAST))
def test_times_are_those_that_datetime_writes(epoch_us: int) -> None:
    at = _EPOCH + timedelta(microseconds=epoch_us)
    assert rfc3339(epoch_us) == at.isoformat(timespec="microseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("epoch_us", [_FIRST - 1, _LAST + 1, 2**62])
def test_a_time_outside_the_calendar_is_refused(epoch_us: int) -> None:
    with pytest.raises(InvalidEnvelope, match="created_at"):
        rfc3339(epoch_us)
