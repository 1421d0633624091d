"""The evidence: everything a fault left on the log, read committed, for the checkers.

The journal says how each record ended; source and outputs are read from the topics themselves.
The group's own audit (`consumers.audit`) reads all of it again in its own way: two accounts that
share no arithmetic have to agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import msgspec

from consumers.audit import GroupAudit, audit, broker_marks
from consumers.journal import OUTCOMES_RECORDED
from consumers.journal.runs import decode_runs
from streams.envelope import Envelope
from streams.errors import DecodeError
from streams.kafka.groups import GroupAdmin
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import EVENTS, JOURNAL, TASKS, Namespace
from streams.topics.catalogue import dlq
from tests.faults.checkers import ASSIGNED, FINISHED, REPORTED, Commit, History, Seen
from tests.faults.load import TASK_ID
from tests.faults.pipeline import ASSIGN, GROUP, STATUS
from tests.faults.pipeline import FINISHED as TASK_FINISHED


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the log holds."""

    history: History
    audit: GroupAudit
    appended_ms: Mapping[Partition, list[tuple[int, int]]]
    """(position, append time) of every record of `tasks`, by partition."""


class Reading:
    """Reads one namespace."""

    def __init__(self, servers: str, namespace: Namespace, codec: Codec) -> None:
        self._reader = KafkaLogReader(servers)
        self._marks = broker_marks(GroupAdmin(servers, namespace), self._reader, namespace)
        self._namespace = namespace
        self._codec = codec

    def collect(
        self, sent: frozenset[str], never_committed: frozenset[str], steps_back: list[str]
    ) -> Evidence:
        """All of it, as of now."""
        appended_ms: dict[Partition, list[tuple[int, int]]] = defaultdict(list)
        seen = []
        for record in self._records(TASKS):
            appended_ms[record.source].append((record.position, record.appended_at_ms))
            seen += self._seen(record)
        for record in self._records(EVENTS):
            seen += self._seen(record)
        (books,) = audit(
            self._reader,
            self._codec,
            self._namespace,
            group=GROUP,
            expect=expected,
            committed=self._marks,
        )
        return Evidence(
            history=History(
                sent=sent,
                seen=seen,
                commits=list(self._commits()),
                dead_letters=self._dead_letters(),
                never_committed=never_committed,
                steps_back=steps_back,
            ),
            audit=books,
            appended_ms=appended_ms,
        )

    def close(self) -> None:
        """Close the reader's consumers."""
        self._reader.close()

    def _seen(self, record: Record) -> list[Seen]:
        try:
            envelope = self._codec.decode(record.value, record.headers)
            what = _hop(envelope)
        except DecodeError:
            return []
        return [
            Seen(hop, task_id, record.source, record.position, envelope.id, envelope.causation_id)
            if envelope.causation_id is not None
            else Seen(hop, task_id, record.source, record.position, envelope.id)
            for hop, task_id in what
        ]

    def _dead_letters(self) -> list[str]:
        found = []
        for record in self._records(dlq(TASKS)):
            try:
                what = _hop(self._codec.decode(record.value, record.headers))
            except DecodeError:
                what = [(ASSIGNED, _named(record))]
            found += [task_id for _, task_id in what]
        return found

    def _commits(self) -> Iterator[Commit]:
        group, topic = self._namespace.group(GROUP), self._namespace.topic(TASKS)
        for record in self._records(JOURNAL):
            envelope = self._codec.decode(record.value, record.headers)
            payload = envelope.payload
            if (
                envelope.type == OUTCOMES_RECORDED
                and payload["group"] == group
                and payload["topic"] == topic
            ):
                yield Commit(
                    Partition(topic, payload["partition"]),
                    record.appended_at_ms,
                    envelope.writer or "",
                    payload["prefix_from"],
                    payload["prefix_to"],
                    tuple(
                        (one["outcome"], run)
                        for one in payload["finished"]
                        for run in decode_runs(one["runs"])
                    ),
                )

    def _records(self, logical: str) -> Iterator[Record]:
        topic = self._namespace.topic(logical)
        starts = self._reader.starts([topic])
        for source, end in self._reader.ends([topic]):
            for batch in self._reader.read(source, starts[source], end):
                yield from batch


def expected(envelope: Envelope) -> Mapping[str, int]:
    """What each handled envelope must have caused, for the audit."""
    return {TASK_FINISHED: 1} if envelope.type == ASSIGN else {STATUS: 1}


def _hop(envelope: Envelope) -> list[tuple[int, str]]:
    payload = envelope.payload
    if envelope.type == ASSIGN:
        return [(ASSIGNED, payload["task"]["id"])]
    if envelope.type == TASK_FINISHED:
        return [(FINISHED, payload["task_id"])]
    if envelope.type == STATUS:
        return [(REPORTED, payload["current_tasks"][0])]
    return []


def _named(record: Record) -> str:
    """The task id of a record whose value cannot be read: its headers name it."""
    for name, value in record.headers:
        if name == TASK_ID:
            return value.decode()
    return str(record)
