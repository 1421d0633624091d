"""The audit: what one group did with its topics, re-read from the log and proven.

1. Ask for the group's committed positions and their marks, then read its journal up to its end now.
   It says how each record ended and up to where; what is committed must be a moment of it.
2. Read the source topics: the journal must tile them (`consumers.journal.tiling`).
3. Read the topics that outputs may be on: nothing lost, duplicated or reordered
   (`consumers.journal.outputs`). An output is the group's if a process run wrote it that its
   journal names: other groups may answer the same records.

The journal's end is taken before those of the topics, so whatever a journal record speaks of
is below the ends that are read. Everything is read committed; nothing needs the group to be idle.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

import msgspec

from consumers.journal import OUTCOMES_RECORDED
from consumers.journal.outcomes import Delivery, Outcome
from consumers.journal.outputs import Expectation, OutputCheck, OutputFinding
from consumers.journal.runs import decode_runs
from consumers.journal.tiling import Tiling, TilingResult
from consumers.marks import Mark
from streams.envelope import Envelope
from streams.errors import DecodeError
from streams.kafka.groups import GroupAdmin
from streams.kafka.reader import KafkaLogReader
from streams.ports import LogReader
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import CHANNELS, COMMANDS, EVENTS, INBOX, JOURNAL, REPLIES, TASKS, Namespace

CommittedMarks = Callable[[str | None], Mapping[str, Mapping[Partition, Mark]]]
"""The marks of one group (its full name), or of all groups, by group and source partition."""

OUTPUT_TOPICS: Final = (TASKS, CHANNELS, INBOX, REPLIES, EVENTS, COMMANDS)
"""Where handlers' envelopes go."""


class GroupAudit(msgspec.Struct, frozen=True, kw_only=True):
    """One group's books. Counts are records; `lost`, `duplicated` and `reordered` must be 0."""

    group: str
    """Full name."""
    topics: tuple[str, ...]
    """Source topics, full names."""
    delivery: str
    """What was asked of it; at least once, only what is lost is a fault."""
    accepted: int
    outcomes: Mapping[str, int]
    in_flight: int
    """Accepted and not finished yet."""
    outputs: int
    """Records on the log that its handlers published."""
    repeated: int
    """Records that ended more than once, at least once being what was asked."""
    lost: int
    """Records without an outcome below the committed position, and expected outputs not there."""
    duplicated: int
    reordered: int
    work_by_run: Mapping[str, int]
    """Records finished, by the process run that committed them."""
    tilings: Mapping[str, TilingResult]
    """By source partition."""
    findings: tuple[OutputFinding, ...]
    """The first faults of outputs, in words."""

    @property
    def clean(self) -> bool:
        """True if every proof holds."""
        tiles = not any(result.faults for result in self.tilings.values())
        if self.delivery == Delivery.AT_LEAST_ONCE:
            return tiles and not self.lost
        return tiles and not (self.lost or self.duplicated or self.reordered)


class GroupBooks:
    """What the journal says about one group."""

    def __init__(self) -> None:
        self.tilings: dict[Partition, Tiling] = {}
        self._handled: dict[Partition, list[range]] = {}
        self._sorted = True
        self.delivery: str = Delivery.EXACTLY_ONCE
        """As its last journal record says."""
        self.work_by_run: dict[str, int] = {}

    def add(self, envelope: Envelope) -> None:
        """One `OutcomesRecorded` envelope of the group's, in log order."""
        payload = envelope.payload
        source = Partition(payload["topic"], payload["partition"])
        self.tilings.setdefault(source, Tiling()).add(payload)
        self.delivery = payload["delivery"]
        run = envelope.writer or ""
        for finished in payload["finished"]:
            runs = list(decode_runs(finished["runs"]))
            count = sum(len(one) for one in runs)
            self.work_by_run[run] = self.work_by_run.get(run, 0) + count
            if finished["outcome"] == Outcome.HANDLED:
                self._handled.setdefault(source, []).extend(runs)
                self._sorted = False

    def handled_at(self, source: Partition, position: int) -> bool:
        """Whether the record there was handled."""
        if not self._sorted:
            for runs in self._handled.values():
                runs.sort(key=_start)
            self._sorted = True
        found = self._handled.get(source, ())
        at = bisect_right(found, position, key=_start) - 1
        return at >= 0 and position in found[at]


def _start(run: range) -> int:
    return run.start


def broker_marks(
    groups: GroupAdmin, reader: KafkaLogReader, namespace: Namespace
) -> CommittedMarks:
    """What Kafka has committed for groups, read as the marks that workers leave.

    It waits until the journal can be read up to what was there when the marks were: a worker that
    died in a transaction hides what others have committed behind it.
    """

    def marks(group: str | None) -> Mapping[str, Mapping[Partition, Mark]]:
        committed = groups.committed(group)
        reader.await_settled([namespace.topic(JOURNAL)])
        return {
            name: {source: Mark.decode(*position) for source, position in found.items()}
            for name, found in committed.items()
        }

    return marks


def read_books(reader: LogReader, codec: Codec, namespace: Namespace) -> dict[str, GroupBooks]:
    """The journal up to now, by group's full name."""
    books: dict[str, GroupBooks] = {}
    for record in _records(reader, [namespace.topic(JOURNAL)]):
        try:
            envelope = codec.decode(record.value, record.headers)
            if envelope.type == OUTCOMES_RECORDED:
                books.setdefault(envelope.payload["group"], GroupBooks()).add(envelope)
        except DecodeError:
            continue  # not ours; if it ever was, the commits around it do not chain
    return books


def audit(
    reader: LogReader,
    codec: Codec,
    namespace: Namespace,
    *,
    group: str | None = None,
    topics: Iterable[str] = (),
    expect: Expectation | None = None,
    committed: CommittedMarks | None = None,
) -> list[GroupAudit]:
    """Audit one group (its logical name), or every group that has a journal.

    `committed` tells a group's marks (by full name); without it they are not compared.

    `topics` (logical names) are what the group reads; by default, what its journal speaks of. A
    group without a journal has everything in flight. `expect` says which outputs must exist.
    """
    marks: Mapping[str, Mapping[Partition, Mark]] = {}
    if committed is not None:
        marks = committed(None if group is None else namespace.group(group))
    books = read_books(reader, codec, namespace)
    sources = [namespace.topic(topic) for topic in topics]
    if group is not None:
        full = namespace.group(group)
        books = {full: books.get(full, GroupBooks())}
    return [
        _audit_group(reader, codec, namespace, name, found, sources, expect, marks.get(name, {}))
        for name, found in sorted(books.items())
    ]


def _audit_group(
    reader: LogReader,
    codec: Codec,
    namespace: Namespace,
    group: str,
    books: GroupBooks,
    topics: list[str],
    expect: Expectation | None,
    marks: Mapping[Partition, Mark],
) -> GroupAudit:
    topics = topics or sorted({source.topic for source in books.tilings})
    check = OutputCheck(expect)

    def positions(records: Iterable[Record]) -> Iterator[int]:
        for record in records:
            if books.handled_at(record.source, record.position):
                check.add_source(record, codec.decode(record.value, record.headers))
            yield record.position

    told = dict(books.tilings)
    tilings = {
        source: told.pop(source, Tiling()).check(positions(records), marks.get(source))
        for source, records in _partitions(reader, topics)
    }
    for source, tiling in told.items():  # the journal speaks of what the group does not read
        tilings[source] = tiling.check(())
    for record in _records(reader, [namespace.topic(topic) for topic in OUTPUT_TOPICS]):
        try:
            envelope = codec.decode(record.value, record.headers)
        except DecodeError:
            continue  # no handler's: those were encoded by us
        if envelope.writer in books.work_by_run:
            check.add_output(record, envelope)
    check.finish()
    outcomes: dict[str, int] = {}
    for result in tilings.values():
        for outcome, count in result.outcomes.items():
            outcomes[outcome] = outcomes.get(outcome, 0) + count
    return GroupAudit(
        group=group,
        topics=tuple(topics),
        delivery=books.delivery,
        accepted=sum(result.accepted for result in tilings.values()),
        outcomes=outcomes,
        in_flight=sum(result.in_flight for result in tilings.values()),
        outputs=check.outputs,
        repeated=sum(result.repeated for result in tilings.values()),
        lost=check.lost + sum(result.lost for result in tilings.values()),
        duplicated=check.duplicated,
        reordered=check.reordered,
        work_by_run=dict(books.work_by_run),
        tilings={str(source): result for source, result in tilings.items()},
        findings=tuple(check.findings),
    )


def _records(reader: LogReader, topics: Sequence[str]) -> Iterator[Record]:
    """Every visible record of these topics up to now, partition by partition."""
    for _, records in _partitions(reader, topics):
        yield from records


def _partitions(
    reader: LogReader, topics: Sequence[str]
) -> Iterator[tuple[Partition, Iterator[Record]]]:
    """Each partition of these topics, with its visible records up to now."""
    if not topics:
        return
    starts = reader.starts(topics)
    for source, end in reader.ends(topics):
        yield source, chain.from_iterable(reader.read(source, starts[source], end))
