"""The log in memory as a whole: transactions, fencing, positions, time-outs, faults."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streams.memory import (
    CallFailed,
    CommittedPosition,
    Failure,
    Fault,
    GroupMetadata,
    ManualClock,
    MemoryLog,
    Producer,
)
from streams.record import Partition
from streams.topics import Namespace

TASKS = Partition("ns.tasks", 0)
EVENTS = Partition("ns.events", 0)
GROUP = "ns.g"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log(clock: ManualClock) -> MemoryLog:
    made = MemoryLog(clock)
    made.provision(Namespace("ns"))
    return made


def refusal(call: Callable[[], object]) -> Failure:
    with pytest.raises(CallFailed) as caught:
        call()
    return caught.value.failure


def values(log: MemoryLog, source: Partition, *, committed: bool = True) -> list[bytes | None]:
    start = log.start(source)
    return [one.value for one in log.fetch(source, start, committed=committed).records]


def at(position: int, metadata: str = "") -> dict[Partition, CommittedPosition]:
    return {TASKS: CommittedPosition(position, metadata)}


def member(log: MemoryLog) -> GroupMetadata:
    member_id, answer = log.join(GROUP, ["ns.tasks"])
    return GroupMetadata(GROUP, member_id, answer.epoch)


def test_outputs_and_positions_happen_at_once_or_not_at_all(log: MemoryLog) -> None:
    """Aborted: neither. Committed: both, with the position's text."""
    metadata, producer = member(log), log.init_producer("t")
    for commit in (False, True):
        log.append(EVENTS, b"k", b"v", producer=producer)
        log.send_positions(producer, metadata, at(7, "text"))
        assert values(log, EVENTS) == []
        (log.commit if commit else log.abort)(producer)
        assert values(log, EVENTS) == ([b"v"] if commit else [])
        expected = CommittedPosition(7, "text") if commit else None
        assert log.committed(GROUP, [TASKS]) == {TASKS: expected}


def test_h05_positions_that_are_about_to_change_are_not_told(log: MemoryLog) -> None:
    """Not as stable ones; whoever does not mind is told the old ones."""
    metadata, producer = member(log), log.init_producer("t")
    log.send_positions(producer, metadata, at(7))
    assert refusal(lambda: log.committed(GROUP, [TASKS])) is Failure.UNSTABLE_OFFSET_COMMIT
    assert log.committed(GROUP, [TASKS], stable=False) == {TASKS: None}
    other = Partition("ns.tasks", 1)
    assert log.committed(GROUP, [other]) == {other: None}
    log.abort(producer)
    assert log.committed(GROUP, [TASKS]) == {TASKS: None}


def test_an_older_producer_is_fenced_and_what_it_left_open_is_aborted(log: MemoryLog) -> None:
    old = log.init_producer("t")
    log.append(EVENTS, b"k", b"left open", producer=old)
    new = log.init_producer("t")
    assert log.end(EVENTS) == 2
    assert values(log, EVENTS) == []
    metadata = member(log)
    for call in (
        lambda: log.append(EVENTS, b"k", b"v", producer=old),
        lambda: log.send_positions(old, metadata, at(1)),
        lambda: log.commit(old),
        lambda: log.abort(old),
        lambda: log.commit(Producer("nobody", 0)),
    ):
        assert refusal(call) is Failure.PRODUCER_FENCED
    log.append(EVENTS, b"k", b"new", producer=new)
    log.commit(new)
    assert values(log, EVENTS) == [b"new"]


def test_h08_a_transaction_that_times_out_is_aborted_and_its_producer_fenced(
    log: MemoryLog, clock: ManualClock
) -> None:
    """Not a moment before; positions are stable again."""
    metadata, producer = member(log), log.init_producer("t", timeout_ms=1_000)
    log.append(EVENTS, b"k", b"v", producer=producer)
    log.send_positions(producer, metadata, at(7))
    clock.advance_ms(999)
    log.tick()
    assert log.end(EVENTS) == 0
    clock.advance_ms(1)
    log.tick()
    assert log.end(EVENTS) == 2
    assert log.committed(GROUP, [TASKS]) == {TASKS: None}
    assert refusal(lambda: log.commit(producer)) is Failure.PRODUCER_FENCED


def test_a_refused_position_leaves_the_transaction_to_be_aborted(log: MemoryLog) -> None:
    """Whoever is not a member, and text that is too long (H10)."""
    metadata, producer = member(log), log.init_producer("t")
    log.append(EVENTS, b"k", b"v", producer=producer)
    stranger = GroupMetadata(GROUP, "stranger", 1)
    assert refusal(lambda: log.send_positions(producer, stranger, at(1))) is (
        Failure.UNKNOWN_MEMBER_ID
    )
    log.send_positions(producer, metadata, at(1, "x" * 4096))
    assert refusal(lambda: log.send_positions(producer, metadata, at(1, "x" * 4097))) is (
        Failure.OFFSET_METADATA_TOO_LARGE
    )
    log.abort(producer)
    assert values(log, EVENTS) == []


def test_positions_without_a_transaction_are_checked_too(log: MemoryLog) -> None:
    metadata = member(log)
    log.commit_positions(metadata, at(3, "text"))
    assert log.committed(GROUP, [TASKS]) == {TASKS: CommittedPosition(3, "text")}
    log.expire_member(GROUP, metadata.member_id)
    assert refusal(lambda: log.commit_positions(metadata, at(4))) is Failure.UNKNOWN_MEMBER_ID


def test_a_record_that_is_too_large_or_has_no_place_is_refused(log: MemoryLog) -> None:
    """The dead letters' topic takes what the source took, and its headers."""
    big = b"x" * 1_048_600
    assert refusal(lambda: log.append(TASKS, b"k", big)) is Failure.MESSAGE_TOO_LARGE
    log.append(Partition("ns.tasks.dlq", 0), b"k", big)
    nowhere = Partition("ns.tasks", 99)
    assert refusal(lambda: log.append(nowhere, b"k", b"v")) is Failure.UNKNOWN_TOPIC_OR_PARTITION


def test_faults_say_what_is_true_afterwards(log: MemoryLog) -> None:
    """A lost commit stays open; one whose answer is lost has happened; each fault happens once."""
    for fault, visible, failure in (
        (Fault.COMMIT_REFUSED, False, Failure.TRANSACTION_ABORTABLE),
        (Fault.COMMIT_LOST, False, Failure.NO_ANSWER),
        (Fault.COMMIT_ANSWER_LOST, True, Failure.NO_ANSWER),
    ):
        producer = log.init_producer("t")
        log.append(EVENTS, b"k", fault.name.encode(), producer=producer)
        log.fail_next(fault)
        assert refusal(lambda: log.commit(producer)) is failure  # noqa: B023 - called at once
        log.init_producer("t")
        assert (fault.name.encode() in values(log, EVENTS)) is visible
    producer = log.init_producer("t")
    log.append(EVENTS, b"k", b"after", producer=producer)
    log.commit(producer)
    assert values(log, EVENTS)[-1] == b"after"


def test_h01_a_delayed_commit_hits_the_next_transaction_unless_the_epoch_was_raised(
    log: MemoryLog,
) -> None:
    """The hole that a new producer per doubt closes."""
    for renew in (True, False):
        producer = log.init_producer("t")
        log.append(EVENTS, b"k", b"first", producer=producer)
        log.fail_next(Fault.COMMIT_DELAYED)
        assert refusal(lambda: log.commit(producer)) is Failure.NO_ANSWER  # noqa: B023
        log.abort(producer)
        next_ = log.init_producer("t") if renew else producer
        log.append(EVENTS, b"k", b"half %d" % renew, producer=next_)
        assert log.deliver_delayed() == 1
        assert (b"half %d" % renew in values(log, EVENTS)) is not renew


def test_the_same_calls_make_the_same_log() -> None:
    """Ids of topics included; another seed deals partitions otherwise."""

    def run(seed: int) -> tuple[str, object]:
        log = MemoryLog(ManualClock(), seed=seed)
        log.provision(Namespace("ns"))
        for _ in range(3):
            log.join(GROUP, ["ns.tasks"])
        log.rebalance(GROUP)
        return log.topic_id("ns.tasks"), log.group(GROUP)._target

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_who_watches_hears_of_every_change(log: MemoryLog) -> None:
    """Until it stops."""
    heard: list[int] = []
    stop = log.watch(lambda: heard.append(log.end(TASKS)))
    log.append(TASKS, b"k", b"v")
    member(log)
    assert heard == [1, 1]
    stop()
    log.append(TASKS, b"k", b"v")
    assert heard == [1, 1]
