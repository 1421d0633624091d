"""A subject folded by an order that chance drew, and up to given positions.

Live folds are stopped, stored as CBOR and gone on with, between batches of any size; so are these.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

import cbor2
import msgspec

from consumers.folds import OnProgress
from consumers.proving.interleaving import interleaved, resume_positions
from consumers.proving.storing import unkept
from consumers.proving.subjects import Folding, StreamsFolding, Subject
from streams.digest import digest
from streams.errors import AgentlogError, BrokerError
from streams.ports import LogReader
from streams.record import Partition, Record
from streams.schemas import Codec

RESUMES: Final = 8
"""How often the fold of one partition is stored and gone on with."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What the fold of one partition came to."""

    digest: str = ""
    stored: bytes = b""
    """CBOR of the state; empty if nobody asked for it."""
    records: int = 0
    undecodable: int = 0
    counts: Mapping[str, int] = {}
    """What else the subject counted."""
    failed: str = ""
    """Why it did not get to the end; empty if it did."""
    failed_at: int | None = None
    failed_key: bytes | None = None
    """Position and key of the record that it failed on, where known."""


def fold_partitions(
    subject: Subject,
    reader: LogReader,
    codec: Codec,
    ends: Mapping[Partition, int],
    seed: int,
    *,
    keep: bool = True,
    on_progress: OnProgress = lambda passed, total: None,  # noqa: ARG005
) -> dict[Partition, Part]:
    """Every partition below its end: a few side by side, in batches of other sizes, stored and gone
    on with now and then. States are kept with `keep`, else only their digests.
    """
    total = sum(ends.values())
    passed: dict[Partition, int] = {}
    rng = random.Random(seed)
    resumes = resume_positions(ends, RESUMES, rng)
    running: dict[Partition, _Running] = {}
    done: dict[Partition, Part] = {}
    for source, records in interleaved(
        list(ends), lambda source: reader.read(source, 0, ends[source]), rng
    ):
        fold = running.get(source)
        if fold is None:
            fold = running[source] = _Running(subject, codec, resumes[source])
        if records:
            fold.add(records)
        else:
            done[source] = running.pop(source).finish(keep)
        passed[source] = records[-1].position + 1 if records else ends[source]
        on_progress(sum(passed.values()), total)
    return done


class _Running:
    """The fold of one partition; what it fails on is in its result."""

    def __init__(self, subject: Subject, codec: Codec, resumes: list[int]) -> None:
        self._subject = subject
        self._codec = codec
        self._resumes = resumes
        self._fold = subject.begin(codec)
        self._records = 0
        self._undecodable = 0
        self._counts: dict[str, int] = {}
        self._failed: Part | None = None

    def add(self, records: Sequence[Record]) -> None:
        if self._failed is not None:
            return
        self._records += len(records)
        try:
            self._fold.add(records)
            if self._resumes and records[-1].position >= self._resumes[0]:
                while self._resumes and records[-1].position >= self._resumes[0]:
                    self._resumes.pop(0)
                self._count()
                self._fold = self._subject.begin(self._codec, _stored_and_read(self._fold.value()))
        except BrokerError:
            raise
        except AgentlogError as error:
            self._failed = _failure(self._fold, error)

    def finish(self, keep: bool) -> Part:
        if self._failed is not None:
            return self._failed
        try:
            value = self._fold.value()
            found = digest(value)
        except AgentlogError as error:
            return _failure(self._fold, error)
        self._count()
        return Part(
            digest=found,
            stored=cbor2.dumps(value) if keep else b"",
            records=self._records,
            undecodable=self._undecodable,
            counts=self._counts,
        )

    def _count(self) -> None:
        self._undecodable += self._fold.undecodable
        if isinstance(self._fold, StreamsFolding):
            for name, n in self._fold.counts.items():
                self._counts[name] = self._counts.get(name, 0) + n


def _failure(fold: Folding, error: AgentlogError) -> Part:
    at = fold.at if isinstance(fold, StreamsFolding) else None
    return Part(
        failed=f"{type(error).__name__}: {error}",
        failed_at=at.position if at is not None else None,
        failed_key=at.key if at is not None else None,
    )


class Prefix(msgspec.Struct, frozen=True):
    """A partition folded up to a position."""

    position: int
    digest: str
    """Of the state; what went wrong, if something did."""
    stored: bytes
    """CBOR of the state; empty if something went wrong."""


def fold_prefixes(
    subject: Subject,
    reader: LogReader,
    codec: Codec,
    source: Partition,
    begin: Prefix | None,
    positions: Sequence[int],
    *,
    strict: bool = False,
) -> list[Prefix]:
    """The state below each of these positions (ascending), from a state that another fold came to,
    or from the first record. With `strict` it ends at a state that CBOR does not keep as it is.
    """
    fold = subject.begin(codec, cbor2.loads(begin.stored) if begin is not None else None)
    records = (
        record
        for batch in reader.read(source, begin.position if begin else 0, positions[-1])
        for record in batch
    )
    ahead = next(records, None)
    found: list[Prefix] = []
    for position in positions:
        try:
            while ahead is not None and ahead.position < position:
                fold.add([ahead])
                ahead = next(records, None)
            value = fold.value()
            prefix = Prefix(position, digest(value), cbor2.dumps(value))
        except BrokerError:
            raise
        except AgentlogError as error:
            prefix = Prefix(position, f"{type(error).__name__}: {error}", b"")
        if strict and prefix.stored and (lost := next(unkept(value), None)) is not None:
            prefix = Prefix(position, f"{lost.path} is not kept", b"")
        found.append(prefix)
        if not prefix.stored:
            break
    return found


def fold_to(subject: Subject, reader: LogReader, codec: Codec, source: Partition, end: int) -> Any:
    """The state below a position, as the code made it."""
    fold = subject.begin(codec)
    for batch in reader.read(source, 0, end):
        fold.add(batch)
    return fold.value()


def _stored_and_read(value: Any) -> Any:
    try:
        return cbor2.loads(cbor2.dumps(value))
    except cbor2.CBOREncodeError:
        digest(value)  # raises too, and names the path
        raise
