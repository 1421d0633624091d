"""Streamed answers: whole, in order and once, or the caller hears that they are not (S3.12)."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from streams.answers import (
    Failure,
    answered,
    failed,
    read_json,
    stream_data,
    stream_ended,
    stream_started,
)
from streams.envelope import Envelope, Kind
from streams.identity import message_id, random_suffix
from streams.reassembly import (
    STARTS_MAX,
    Broken,
    Ended,
    Event,
    Piece,
    Reassembly,
    Started,
    Whole,
)

REQUEST = Envelope(
    type="agentlog.Json",
    id="msg-1700000000000-aaaaaaaaa",
    kind=Kind.REQUEST,
    sender="planner",
    payload={"json": "{}"},
    correlation_id="c",
    reply_to="inbox",
)
_RNG = random.Random(12)


def sent(envelope: Envelope, writer: str | None = "w") -> Envelope:
    """As it is on the log: every publish has an id of its own."""
    return envelope.with_(id=message_id(1, random_suffix(_RNG)), writer=writer)


def run(attempt: int, pieces: int, writer: str | None = "w") -> list[Envelope]:
    """All that one attempt sends; a piece says whose it is."""
    return [
        sent(stream_started(REQUEST, attempt), writer),
        *(
            sent(stream_data(REQUEST, attempt, n, [writer, attempt, n]), writer)
            for n in range(pieces)
        ),
        sent(stream_ended(REQUEST, attempt, pieces), writer),
    ]


def events(envelopes: Iterable[Envelope]) -> list[Event]:
    reassembly = Reassembly()
    found = [reassembly.add(envelope) for envelope in envelopes]
    return [event for event in found if event is not None]


def read(envelopes: Iterable[Envelope]) -> tuple[list[Any], Event | None]:
    """What a caller that starts over on a restart has at the end, and how the stream ended."""
    pieces: list[Any] = []
    for event in events(envelopes):
        match event:
            case Piece(text):
                pieces.append(read_json(text))
            case Started():
                pieces.clear()
            case _:
                return pieces, event
    return pieces, None


def test_s3_12_pieces_come_in_order_between_start_and_end() -> None:
    found = events(run(1, 3))
    assert found[0] == Started(again=False)
    assert [read_json(e.text)[2] for e in found if isinstance(e, Piece)] == [0, 1, 2]
    assert found[-1] == Ended(None)


def test_s3_12_a_stream_may_be_empty() -> None:
    assert events(run(1, 0)) == [Started(again=False), Ended(None)]


def test_s3_12_a_gap_names_what_was_expected_and_what_came() -> None:
    """And nothing after it counts."""
    envelopes = run(1, 4)
    assert read(envelopes[:2] + envelopes[3:])[1] == Broken("piece 1", "piece 2")
    assert read(envelopes[:4] + envelopes[5:])[1] == Broken("piece 3", "the end after 4 pieces")
    assert read(envelopes[1:])[1] == Broken("the start of attempt 1 of w", "piece 0")
    assert events(envelopes[:2] + envelopes[3:])[-1] == Broken("piece 1", "piece 2")


def test_s3_12_an_end_that_counts_less_than_came_is_a_gap_too() -> None:
    envelopes = [*run(1, 3)[:-1], sent(stream_ended(REQUEST, 1, 2))]
    assert read(envelopes)[1] == Broken("piece 3", "the end after 2 pieces")


def test_s3_12_a_later_attempt_supersedes_an_earlier_one() -> None:
    """What the earlier one still sends is dropped."""
    old, new = run(1, 5), run(2, 3)
    pieces, end = read([*old[:3], *new[:2], *old[3:], *new[2:]])
    assert (pieces, end) == ([["w", 2, n] for n in range(3)], Ended(None))


def test_s3_12_a_worker_that_takes_over_supersedes_whatever_its_attempt() -> None:
    """It counts attempts anew, so another process's start counts by the order of the log."""
    old, new = run(3, 5, "old"), run(1, 3, "new")
    pieces, end = read([*old[:3], *new[:2], *old[3:], *new[2:]])
    assert (pieces, end) == ([["new", 1, n] for n in range(3)], Ended(None))
    first, second, third = run(1, 3, "a"), run(1, 3, "b"), run(1, 4, "a")
    pieces, end = read([*first[:3], *second[:2], *third])
    assert (pieces, end) == ([["a", 1, n] for n in range(4)], Ended(None))


def test_s3_12_a_worker_that_gets_the_record_back_begins_anew() -> None:
    """Its start has the id of its first one, but not the time; a repeat of that has both."""
    first, second, third = run(1, 3, "a"), run(1, 3, "b"), run(1, 4, "a")
    again = third[0].with_(id=first[0].id, created_at=first[0].created_at + 1)
    pieces, end = read([*first[:3], *second[:2], again, second[2], *third[1:]])
    assert (pieces, end) == ([["a", 1, n] for n in range(4)], Ended(None))
    pieces, end = read([*first[:3], *second[:2], first[0], *second[2:]])
    assert (pieces, end) == ([["b", 1, n] for n in range(3)], Ended(None))


def test_s3_12_a_stream_that_fails_says_so() -> None:
    """However many of its pieces came."""
    end = sent(stream_ended(REQUEST, 1, 2, Failure("ValueError", "no")))
    assert read([*run(1, 2)[:3], end])[1] == Ended(Failure("ValueError", "no"))
    assert read([*run(1, 2)[:2], end])[1] == Ended(Failure("ValueError", "no"))


def test_s3_12_an_answer_that_is_not_streamed_ends_the_stream() -> None:
    for answer in (sent(answered(REQUEST, 1)), sent(failed(REQUEST, "E", "m"))):
        assert read([answer])[1] == Whole(answer)
        assert read([*run(1, 3)[:2], answer])[1] == Whole(answer)


def test_s3_12_runs_are_bounded() -> None:
    found = events(sent(stream_started(REQUEST, n)) for n in range(1, STARTS_MAX + 10))
    assert found[-1] == Broken(f"at most {STARTS_MAX} attempts", "one more")
    assert len(found) == STARTS_MAX + 1


RUNS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 6)), min_size=1, max_size=4
)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Envelope], list[Envelope], list[Envelope]]:
    """(all that was sent, in the log's order; the last run; what the reader got of it).

    Every run but the last stops somewhere, its remainder arrives during the runs after it; some
    envelopes are lost, some repeated at any later time.
    """
    log: list[Envelope] = []
    leftover: list[Envelope] = []
    made: list[list[Envelope]] = []
    attempts: dict[str, int] = {}
    drawn = draw(RUNS)
    for n, (writer, pieces) in enumerate(drawn):
        attempts[writer] = attempts.get(writer, 0) + 1
        envelopes = run(attempts[writer], pieces, writer)
        made.append(envelopes)
        last = n == len(drawn) - 1
        cut = len(envelopes) if last else draw(st.integers(1, len(envelopes) - 1))
        now, late = envelopes[:cut], envelopes[cut:]
        log.append(now.pop(0))
        while now or (last and leftover):
            log.append((leftover if leftover and (not now or draw(st.booleans())) else now).pop(0))
        leftover += late
    got = list(log)
    if draw(st.booleans()):
        del got[draw(st.integers(0, len(got) - 1))]
    for _ in range(draw(st.integers(0, 3)) if got else 0):
        place = draw(st.integers(0, len(got) - 1))
        got.insert(draw(st.integers(place + 1, len(got))), got[place])
    return log, made[-1], got


@given(history=histories())
def test_s3_12_whole_and_in_order_or_not_ended(
    history: tuple[list[Envelope], list[Envelope], list[Envelope]],
) -> None:
    """Under repeats, loss, and attempts that overlap, a stream that ends is exactly one run's, and
    the last one's if nothing of that was lost; pieces of two runs never mix.
    """
    log, last, got = history
    pieces, end = read(got)
    assert [piece[2] for piece in pieces] == list(range(len(pieces)))
    assert len({(piece[0], piece[1]) for piece in pieces}) <= 1
    if isinstance(end, Ended):
        writer, attempt = pieces[0][:2] if pieces else (None, None)
        sizes = {
            (e.writer, e.payload["attempt"]): e.payload["pieces"]
            for e in log
            if "pieces" in e.payload
        }
        assert len(pieces) == sizes[writer, attempt] if pieces else 0 in sizes.values()
    ids = {envelope.id for envelope in got}
    if {envelope.id for envelope in log} <= ids:  # nothing was lost
        assert end == Ended(None)
        assert pieces == [read_json(e.payload["data"]) for e in last[1:-1]]


@given(
    pieces=st.integers(1, 8),
    lost=st.integers(0, 9),
    repeats=st.lists(st.integers(0, 9), max_size=5),
)
def test_s3_12_whatever_is_lost_of_a_run_is_noticed(
    pieces: int, lost: int, repeats: list[int]
) -> None:
    """Unless it is the end itself: then there is none."""
    envelopes = run(1, pieces)
    lost %= len(envelopes)
    got = [e for n, e in enumerate(envelopes) for _ in range(1 + repeats.count(n)) if n != lost]
    _, end = read(got)
    assert end is None if lost == len(envelopes) - 1 else isinstance(end, Broken)
