"""What belongs to a trace, found by the index on a log in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from consumers.databases import Database
from consumers.journal import Ending, Outcome
from consumers.tracing import Trace
from streams.dead_letters import unroutable_headers
from streams.envelope import ATTEMPT, Kind
from streams.record import Partition
from streams.topics import INBOX, dlq
from tests.consumers.tracing.stage import CODEC, TraceStage, envelope


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[TraceStage]:
    database = Database(f"sqlite:///{tmp_path / 'index.sqlite'}")
    yield TraceStage(database)
    database.close()


def shown(trace: Trace) -> list[tuple[str, int, str]]:
    """Number in the id, depth, note."""
    return [(str(int(node.id[4:17])), node.depth, node.note) for node in trace.nodes]


def test_a_correlation_is_shown_as_the_tree_of_its_causes_and_no_other_is(
    stage: TraceStage,
) -> None:
    """Two are interleaved on the same partitions; either is found by each of its message ids."""
    for n in range(4):
        cause = envelope(n - 1).id if n else None
        for correlation in (0, 100):
            one = envelope(
                n + correlation,
                correlation_id=f"c{correlation}",
                causation_id=envelope(n - 1 + correlation).id if cause else None,
            )
            stage.append(one, after_ms=1)
    expected = [(str(n), n, "") for n in range(4)]
    assert shown(stage.trace("c0")) == expected
    assert shown(stage.trace("c100")) == [(str(n + 100), n, "") for n in range(4)]
    by_id = stage.trace(envelope(2).id)
    assert (shown(by_id), by_id.correlation) == (expected, "c0")


def test_what_a_message_without_a_correlation_began_is_found_by_its_id(stage: TraceStage) -> None:
    """Its answers carry its id as their correlation, and those whom it caused have their own."""
    root, answer, other = envelope(1), envelope(2), envelope(3)
    stage.append(root)
    stage.append(answer.with_(correlation_id=root.id, causation_id=root.id), after_ms=5)
    stage.append(other.with_(correlation_id="its own", causation_id=root.id), after_ms=5)
    stage.append(envelope(4, causation_id=other.id, correlation_id="its own"), after_ms=5)
    expected = [("1", 0, ""), ("2", 1, ""), ("3", 1, ""), ("4", 2, "")]
    assert shown(stage.trace(root.id)) == expected
    assert shown(stage.trace(answer.id)) == expected


def test_causes_that_are_elsewhere_or_nowhere_are_said_to_be(stage: TraceStage) -> None:
    """The one is shown without what led to it, of the other there is only the id."""
    above = envelope(1, correlation_id="x", causation_id=envelope(77).id)
    stage.append(above)
    stage.append(envelope(2, correlation_id="c", causation_id=above.id), after_ms=1)
    stage.append(envelope(3, correlation_id="c", causation_id=envelope(99).id), after_ms=1)
    assert shown(stage.trace("c")) == [
        ("1", 0, "outside"),
        ("2", 1, ""),
        ("99", 0, "missing"),
        ("3", 1, ""),
    ]


def test_messages_that_cause_each_other_end_the_search(stage: TraceStage) -> None:
    """Anybody may write anything to the log."""
    for n, cause in ((1, 3), (2, 1), (3, 2)):
        stage.append(envelope(n, correlation_id="c", causation_id=envelope(cause).id), after_ms=1)
    assert shown(stage.trace("c")) == [("1", 0, "circle"), ("2", 1, ""), ("3", 2, "")]


def test_each_group_says_how_it_ended_and_how_long_it_took(stage: TraceStage) -> None:
    """Waiting from the journal, handling as what is left until its commit."""
    one = envelope(1, correlation_id="c")
    (place,) = stage.append(one)
    stage.settle(place, waited_ms=4, after_ms=50)
    stage.settle(place, Ending(Outcome.SKIPPED, "no_handler"), group="audit", after_ms=10)
    (node,) = stage.trace("c").nodes
    assert node.message is not None
    skipped, handled = node.message.endings
    assert (skipped.group, skipped.outcome, skipped.reason) == ("audit", "skipped", "no_handler")
    assert (skipped.waited_ms_min, skipped.handling_ms_max) == (None, None)
    assert (handled.group, handled.outcome, handled.place) == ("fleet", "handled", place)
    assert (handled.waited_ms_min, handled.waited_ms_max, handled.handling_ms_max) == (4, 4, 46)


def test_a_dead_letter_says_why_and_is_no_message_of_its_own(stage: TraceStage) -> None:
    """Attempts, handlers and error, from its headers; where it is kept."""
    (place,) = stage.append(envelope(1, correlation_id="c"))
    stage.bury(place)
    (node,) = stage.trace("c").nodes
    assert node.message is not None
    (ending,) = node.message.endings
    assert (ending.outcome, ending.reason, ending.detail) == (
        "dead_lettered",
        "ValueError",
        "no such thing",
    )
    assert (ending.attempts, ending.handlers) == (5, ("on_request",))
    assert str(ending.dead_letter) == "local.inbox.dlq[0]@0"
    assert len(node.message.sightings) == 1


def test_what_nobody_would_have_received_is_shown_where_it_is_kept(stage: TraceStage) -> None:
    """It was never on a topic."""
    sent = envelope(1, correlation_id="c", recipients=("nobody",))
    topic = stage.namespace.topic(INBOX)
    headers = unroutable_headers(
        (), topic=topic, recipient="nobody", sender="asker", failed_at_ms=1
    )
    stage.log.append(Partition(dlq(topic), 0), b"nobody", CODEC.encode(sent), tuple(headers))
    (node,) = stage.trace("c").nodes
    assert node.message is not None
    (ending,) = node.message.endings
    assert (ending.outcome, ending.reason, ending.group) == ("dead_lettered", "Unroutable", "")


def test_attempts_are_told_by_what_they_sent_at_once(stage: TraceStage) -> None:
    """Where nothing else tells of them: the journal does not count."""
    (place,) = stage.append(envelope(1, correlation_id="c"))
    for n, attempt in ((2, "1"), (3, "2")):
        piece = envelope(n, correlation_id="c", causation_id=envelope(1).id, kind=Kind.NOTIFICATION)
        stage.append(piece.with_(headers={ATTEMPT: attempt}), after_ms=1)
    stage.settle(place)
    first = stage.trace("c").nodes[0].message
    assert first is not None
    assert first.endings[0].attempts == 2


def test_a_message_to_several_is_one_node_with_a_record_for_each(stage: TraceStage) -> None:
    """Each recipient's record ends for itself."""
    first, second = stage.append(envelope(1, correlation_id="c", recipients=("a", "b")))
    stage.settle(second)
    (node,) = stage.trace("c").nodes
    assert node.message is not None
    assert [one.place for one in node.message.sightings] == [first, second]
    assert [one.place for one in node.message.endings] == [second]


def test_keys_of_one_hash_are_told_apart(
    stage: TraceStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here a hash has four bits: each finds many others' records, and shows none of them."""
    monkeypatch.setattr("consumers.index.keys.key_hash", lambda text: sum(text.encode()) & 0xF)
    for n in range(40):
        root = envelope(2 * n, correlation_id=f"c{n}")
        stage.append(root)
        stage.append(envelope(2 * n + 1, correlation_id=f"c{n}", causation_id=root.id))
    for n in (0, 7, 39):
        assert shown(stage.trace(f"c{n}")) == [(str(2 * n), 0, ""), (str(2 * n + 1), 1, "")]


def test_a_trace_is_bounded_and_says_so(stage: TraceStage) -> None:
    """What is beyond the bound is left out."""
    for n in range(1, 30):
        stage.append(envelope(n, correlation_id="c"))
    assert not stage.trace("c").is_cut_short
    short = stage.trace("c", records_max=10)
    assert short.is_cut_short
    assert len(short.nodes) == 10


def test_nothing_is_found_under_what_nobody_used(stage: TraceStage) -> None:
    """With the cut up to which that holds."""
    stage.append(envelope(1, correlation_id="c"))
    nothing = stage.trace("d")
    assert (nothing.nodes, nothing.correlation) == ((), None)
    assert nothing.cut is not None
