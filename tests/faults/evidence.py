"""The evidence: everything a fault left on the log, read committed, for the checkers.

The journal says how each record ended; source and outputs are read from the topics themselves.
The group's own audit (`consumers.audit`) reads all of it again in its own way: two accounts that
share no arithmetic have to agree.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from consumers.aggregates import MemoryStates, Rebuilding
from consumers.aggregates.rebuilding import StateDiffers
from consumers.audit import GroupAudit, audit, broker_marks
from consumers.journal import OUTCOMES_RECORDED
from consumers.journal.runs import decode_runs
from streams.errors import DecodeError, LogError
from streams.kafka.groups import GroupAdmin
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import EVENTS, JOURNAL, TOPICS, Namespace
from streams.topics.catalogue import dlq
from tests.faults.checkers import ASSIGNED, Commit, History, Seen
from tests.faults.ground import Ground
from tests.faults.load import TASK_ID


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What the log holds."""

    history: History
    audit: GroupAudit
    appended_ms: Mapping[Partition, list[tuple[int, int]]]
    """(position, append time) of every record of the source, by partition."""
    verified: int = 0
    """States that were rebuilt and are what was decided on."""


class Reading:
    """Reads one namespace."""

    def __init__(self, servers: str, namespace: Namespace, codec: Codec, ground: Ground) -> None:
        self._reader = KafkaLogReader(servers)
        self._marks = broker_marks(GroupAdmin(servers, namespace), self._reader, namespace)
        self._namespace = namespace
        self._codec = codec
        self._ground = ground

    def collect(
        self, sent: frozenset[str], never_committed: frozenset[str], steps_back: list[str]
    ) -> Evidence:
        """All of it, as of now."""
        # What a worker left open holds back the ends that readers see, until it times out.
        self._reader.await_settled(self._namespace.topics())
        appended_ms: dict[Partition, list[tuple[int, int]]] = defaultdict(list)
        seen = []
        for record in self._records(self._ground.source):
            appended_ms[record.source].append((record.position, record.appended_at_ms))
            seen += self._seen(record)
        for logical in self._ground.outputs:
            for record in self._records(logical):
                seen += self._seen(record)
        (books,) = audit(
            self._reader,
            self._codec,
            self._namespace,
            group=self._ground.group,
            expect=self._ground.expected,
            committed=self._marks,
        )
        forks, differing, verified = self._rebuilt()
        return Evidence(
            history=History(
                sent=sent,
                seen=seen,
                commits=list(self._commits()),
                dead_letters=self._dead_letters(),
                never_committed=never_committed,
                steps_back=steps_back,
                forks=forks,
                differing_states=differing,
            ),
            verified=verified,
            audit=books,
            appended_ms=appended_ms,
        )

    def close(self) -> None:
        """Close the reader's consumers."""
        self._reader.close()

    def _seen(self, record: Record) -> list[Seen]:
        try:
            envelope = self._codec.decode(record.value, record.headers)
            what = self._ground.seen(envelope)
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
        for record in self._records(dlq(self._ground.source)):
            try:
                what = self._ground.seen(self._codec.decode(record.value, record.headers))
            except DecodeError:
                what = [(ASSIGNED, _named(record))]
            found += [task_id for _, task_id in what]
        return found

    def _commits(self) -> Iterator[Commit]:
        group = self._namespace.group(self._ground.group)
        topic = self._namespace.topic(self._ground.source)
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

    def _rebuilt(self) -> tuple[list[str], list[str], int]:
        """(forks, differing states, states that are right) of all streams."""
        forks: list[str] = []
        differing: list[str] = []
        verified = 0
        if self._ground.aggregates:
            by_partition: dict[int, list[Record]] = {
                n: [] for n in range(TOPICS[EVENTS].partitions)
            }
            for record in self._records(EVENTS):
                by_partition[record.source.index].append(record)
            for records in by_partition.values():
                rebuilding = self._rebuild(records, forks, differing)
                verified += rebuilding.verified
        return forks, differing, verified

    def _rebuild(
        self, records: Sequence[Record], forks: list[str], differing: list[str]
    ) -> Rebuilding:
        made = Rebuilding(self._ground.aggregates, self._codec, MemoryStates(), verify=True)
        try:
            made.add(records)
        except StateDiffers as error:
            differing.append(str(error))
        except LogError as error:
            forks.append(str(error))
        return made

    def _records(self, logical: str) -> Iterator[Record]:
        topic = self._namespace.topic(logical)
        starts = self._reader.starts([topic])
        for source, end in self._reader.ends([topic]):
            for batch in self._reader.read(source, starts[source], end):
                yield from batch


def _named(record: Record) -> str:
    """The task id of a record whose value cannot be read: its headers name it."""
    for name, value in record.headers:
        if name == TASK_ID:
            return value.decode()
    return str(record)
