"""The audit finds what is planted: in the journal, among outputs, and through the command."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from consumers.app import App
from consumers.audit import GroupAudit, audit
from consumers.context import Context
from consumers.journal import PartitionCommit, journal_envelopes
from consumers.journal.outcomes import HANDLED, Delivery, Settled
from consumers.marks import Mark
from streams.cuts import Cut
from streams.envelope import Envelope, Kind
from streams.identity import derived_id
from streams.record import Partition, Record
from streams.topics import EVENTS, JOURNAL, TASKS, TOPICS, Namespace
from tests.consumers.worker.harness import ASSIGN, CODEC, STATUS, Bench, assign_task, status, until

NS = Namespace("ns")
SOURCE = Partition(NS.topic(TASKS), 0)
EVENT = Partition(NS.topic(EVENTS), 0)
BOOKS = Partition(NS.topic(JOURNAL), 0)
SIZE = 6
AT_MS = 1_700_000_000_000


class MemoryLog:
    """One partition per topic; a `LogReader`."""

    def __init__(self) -> None:
        self.records: dict[Partition, list[Record]] = {
            Partition(NS.topic(topic.name), 0): [] for topic in TOPICS.values()
        }

    def append(self, source: Partition, value: bytes | None, key: bytes = b"k") -> Record:
        found = self.records[source]
        record = Record(*source, len(found), AT_MS + len(found), key, value)
        found.append(record)
        return record

    def starts(self, topics: Iterable[str]) -> dict[Partition, int]:
        return {source: 0 for source in self.records if source.topic in set(topics)}

    def ends(self, topics: Iterable[str]) -> Cut:
        ends = {source: len(self.records[source]) for source in self.starts(topics)}
        return Cut(cluster_id="memory", topic_ids={}, ends=ends)

    def read(self, source: Partition, start: int, end: int) -> Iterator[Sequence[Record]]:
        yield self.records[source][start:end]


def answer(of: Record, task: Envelope, writer: str = "run-1") -> bytes:
    """What a group's handler of a task published."""
    made = derived_id(of.appended_at_ms, of.topic, of.partition, of.position, "handler", 0)
    return CODEC.encode(
        status(task.id, "s").with_(
            id=made,
            kind=Kind.STATUS_UPDATE,
            sender="a",
            causation_id=task.id,
            created_at=1,
            writer=writer,
        )
    )


def settle(
    log: MemoryLog,
    start: int,
    end: int,
    *positions: int,
    delivery: Delivery = Delivery.EXACTLY_ONCE,
) -> None:
    """One commit: these positions were handled."""
    settled = [Settled(position, AT_MS + position, 1, HANDLED, "") for position in positions]
    commit = PartitionCommit(SOURCE, start, end, settled)
    for envelope in journal_envelopes(
        NS.group("g"), commit, writer="run-1", now_us=1, delivery=delivery
    ):
        log.append(BOOKS, CODEC.encode(envelope.with_(kind=Kind.EVENT)))


def worked() -> tuple[MemoryLog, list[bytes]]:
    """Six tasks of one key on a log, and what their handlers published, not appended yet."""
    log, answers = MemoryLog(), []
    for n in range(SIZE):
        task = assign_task(n, "k")
        answers.append(answer(log.append(SOURCE, CODEC.encode(task)), task))
    return log, answers


def one_status(envelope: Envelope) -> Mapping[str, int]:
    return {STATUS: 1} if envelope.type == ASSIGN else {}


def audited(log: MemoryLog) -> GroupAudit:
    (found,) = audit(log, CODEC, NS, group="g", topics=[TASKS], expect=one_status)
    return found


def append_all(log: MemoryLog, answers: Iterable[bytes]) -> None:
    for value in answers:
        log.append(EVENT, value)


def test_a_clean_log_is_clean_whatever_else_is_on_it() -> None:
    """What is no envelope, or nobody's output, is no fault of the group's."""
    log, answers = worked()
    log.append(SOURCE, None)
    log.append(SOURCE, b"\0not an envelope")
    append_all(log, [b"", b"junk", *answers])
    log.append(BOOKS, b"junk")
    settle(log, 0, 3, 0, 1, 2)
    settle(log, 3, 6, 3, 4, 5)
    found = audited(log)
    assert found.clean
    assert (found.accepted, found.in_flight, found.outputs) == (SIZE + 2, 2, SIZE)
    assert (found.outcomes, found.work_by_run) == ({"handled": SIZE}, {"run-1": SIZE})


def test_what_another_group_published_is_neither_a_duplicate_nor_a_stand_in() -> None:
    """Its handlers take the same records, far behind ours, and one of ours is lost."""
    log, answers = worked()
    append_all(log, [*answers[:2], *answers[3:]])
    for task in log.records[SOURCE]:
        log.append(EVENT, answer(task, CODEC.decode(task.value), writer="theirs"))
    settle(log, 0, SIZE, *range(SIZE))
    found = audited(log)
    assert (found.lost, found.duplicated, found.reordered) == (1, 0, 0)
    assert found.outputs == SIZE - 1


def test_an_output_that_is_not_there_is_lost() -> None:
    """The record that owes it is named."""
    log, answers = worked()
    append_all(log, answers[:2] + answers[3:])
    settle(log, 0, SIZE, *range(SIZE))
    found = audited(log)
    assert (found.lost, found.duplicated, found.reordered, found.clean) == (1, 0, 0, False)
    assert [(one.kind, one.record) for one in found.findings] == [("lost", "ns.tasks[0]@2")]


def test_an_output_that_is_there_twice_is_duplicated() -> None:
    """The second one is named."""
    log, answers = worked()
    append_all(log, [*answers, answers[1]])
    settle(log, 0, SIZE, *range(SIZE))
    found = audited(log)
    assert (found.lost, found.duplicated, found.reordered, found.clean) == (0, 1, 0, False)
    assert [one.record for one in found.findings] == [f"ns.events[0]@{SIZE}"]


def test_two_outputs_of_one_key_that_changed_places_are_reordered() -> None:
    """The one that comes too late is named."""
    log, answers = worked()
    answers[2], answers[3] = answers[3], answers[2]
    append_all(log, answers)
    settle(log, 0, SIZE, *range(SIZE))
    found = audited(log)
    assert (found.lost, found.duplicated, found.reordered, found.clean) == (0, 0, 1, False)
    assert [one.record for one in found.findings] == ["ns.events[0]@3"]


@pytest.mark.parametrize(
    ("commits", "kind", "position"),
    [
        ([(0, 3, (0, 2)), (3, 6, (3, 4, 5))], "gap", 1),
        ([(0, 3, (0, 1, 2)), (3, 6, (2, 3, 4, 5))], "overlap", 2),
        ([(0, 3, (0, 1, 2)), (4, 6, (3, 4, 5))], "broken_chain", 3),
        ([(2, 6, (2, 3, 4, 5))], "gap", 0),
        ([(0, 7, (0, 1, 2, 3, 4, 5, 6))], "phantom", 6),
    ],
)
def test_books_that_do_not_tile_are_faulty(
    commits: list[tuple[int, int, tuple[int, ...]]], kind: str, position: int
) -> None:
    """Also those of a group that never read a partition's beginning."""
    log, answers = worked()
    append_all(log, answers)
    for start, end, positions in commits:
        settle(log, start, end, *positions)
    found = audited(log)
    faults = found.tilings[str(SOURCE)].faults
    assert (faults[0].kind, faults[0].position, found.clean) == (kind, position, False)
    assert found.lost == {1: 1, 0: 2}.get(position, 0)


@pytest.mark.parametrize(
    ("mark", "fault"),
    [
        (Mark(0), None),
        (Mark(3), None),
        (Mark(3, ((4, 6),)), None),
        (Mark(6), None),
        (Mark(2), 2),
        (Mark(3, ((4, 5),)), 3),
        (Mark(3, ((5, 6),)), 3),
        (Mark(4), 4),
    ],
)
def test_the_committed_mark_must_be_a_moment_of_the_journal(mark: Mark, fault: int | None) -> None:
    """Position and what is finished beyond it: as the journal said at one time, and no other."""
    log, answers = worked()
    append_all(log, answers)
    settle(log, 0, 3, 0, 1, 2)
    settle(log, 3, 3, 4, 5)
    settle(log, 3, 6, 3)
    (found,) = audit(
        log,
        CODEC,
        NS,
        group="g",
        topics=[TASKS],
        committed=lambda name: {name or "": {SOURCE: mark}},
    )
    faults = [(one.kind, one.position) for one in found.tilings[str(SOURCE)].faults]
    assert faults == ([] if fault is None else [("mark", fault)])
    assert found.clean is (fault is None)


def test_a_mark_that_finishes_what_the_journal_does_not_is_named() -> None:
    """An outcome was lost: the position has been committed as finished, and nobody says how."""
    log, answers = worked()
    append_all(log, answers)
    settle(log, 0, 3, 0, 1, 2)
    marks = {NS.group("g"): {SOURCE: Mark(3, ((4, 5),))}}
    (found,) = audit(log, CODEC, NS, group="g", topics=[TASKS], committed=lambda _: marks)
    (fault,) = found.tilings[str(SOURCE)].faults
    assert (fault.kind, fault.position) == ("mark", 4)


def test_at_least_once_what_is_repeated_is_counted_and_what_is_lost_a_fault() -> None:
    """A crash between journal and positions: the next owner ends the same records again."""
    log, answers = worked()
    append_all(log, [*answers[:4], *answers[2:]])
    settle(log, 0, 4, 0, 1, 2, 3, delivery=Delivery.AT_LEAST_ONCE)
    settle(log, 2, 6, 2, 3, 4, 5, delivery=Delivery.AT_LEAST_ONCE)
    found = audited(log)
    assert (found.clean, found.repeated, found.duplicated) == (True, 2, 2)
    log, answers = worked()
    append_all(log, answers[1:])
    settle(log, 0, 6, *range(6), delivery=Delivery.AT_LEAST_ONCE)
    found = audited(log)
    assert (found.clean, found.lost) == (False, 1)


def test_a_planted_duplicate_on_kafka_fails_the_command(kafka: str, namespace: str) -> None:
    """`agentlog audit`: 0 and clean before, though two groups name their handlers alike; then 1."""
    bench = Bench(kafka, namespace)

    async def work(name: str) -> None:
        app = App(name, topics=(TASKS,))

        @app.on(ASSIGN)
        async def on_assign_task(ctx: Context, _payload: Mapping[str, Any]) -> None:
            await ctx.publish(status(ctx.idempotency_key, "stream"))

        async with bench.working(app) as task:
            await until(lambda: bench.caught_up(name), "all committed", task=task)

    bench.send([assign_task(n, f"k{n}") for n in range(20)])
    asyncio.run(work("one"))
    asyncio.run(work("other"))
    before = audit_command(bench)
    assert (before.returncode, json.loads(before.stdout)["clean"]) == (0, True)
    outputs = bench.envelopes(EVENTS)
    assert len({output.id for output in outputs}) == 40
    assert len({output.payload["current_tasks"][0] for output in outputs}) == 40
    again = bench.records(EVENTS)[7]
    with bench.raw_producer() as producer:
        producer.produce(again.topic, again.value, again.key, again.partition)
    after = audit_command(bench)
    one, other = json.loads(after.stdout)["groups"]
    assert (after.returncode, one["duplicated"], other["duplicated"]) == (1, 1, 0)
    assert (one["findings"][0]["kind"], other["findings"]) == ("duplicated", [])
    assert one["findings"][0]["record"] in after.stderr.replace("\n", "")


def audit_command(bench: Bench) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "consumers.cli", "audit", "--json"],
        env={
            **os.environ,
            "AGENTLOG_BOOTSTRAP_SERVERS": bench.servers,
            "AGENTLOG_NAMESPACE": bench.namespace.name,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
