"""What a redrive or a drop is about to do, and the portions in which it does it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import Final

import msgspec

from consumers.dead_letters.listing import Entry
from streams.errors import LogError
from streams.ports import LogReader
from streams.record import Record

PLAN_MAX: Final = 100_000
"""Dead letters in one plan; what is left takes another."""
BATCH_RECORDS_MAX: Final = 500
"""Dead letters in one transaction."""
BATCH_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of their values, after which a transaction is full."""
GAP_MAX: Final = 1_000
"""Positions that are read over rather than begin another read."""

Letter = tuple[Entry, Record]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is about to be redriven or dropped."""

    entries: tuple[Entry, ...]
    already: int
    """Dead letters that fit and are resolved; they are left alone."""
    more: bool
    """Whether there may be others beyond the limit."""

    def counts(self) -> list[tuple[tuple[str, str, str], int]]:
        """((original topic, group, error name), how many), the most first."""
        counted = Counter(
            (one.letter.topic, one.letter.group, one.letter.error_name) for one in self.entries
        )
        return sorted(counted.items(), key=lambda item: (-item[1], item[0]))


def plan(entries: Iterable[Entry], *, again: bool, limit: int | None) -> Plan:
    """The first `limit` of these that are open (with `again`, of all); at most `PLAN_MAX`."""
    most = min(limit or PLAN_MAX, PLAN_MAX)
    taken: list[Entry] = []
    already = 0
    for entry in entries:
        if entry.resolution is not None and not again:
            already += 1
        elif len(taken) == most:
            return Plan(entries=tuple(taken), already=already, more=True)
        else:
            taken.append(entry)
    return Plan(entries=tuple(taken), already=already, more=False)


def batches(reader: LogReader, entries: Iterable[Entry]) -> Iterator[list[Letter]]:
    """These dead letters with their records read again, in log order, in bounded portions."""
    batch: list[Letter] = []
    size = 0
    for entry, record in _letters(reader, entries):
        batch.append((entry, record))
        size += len(record.value or b"")
        if len(batch) >= BATCH_RECORDS_MAX or size >= BATCH_BYTES_MAX:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _letters(reader: LogReader, entries: Iterable[Entry]) -> Iterator[Letter]:
    by_place = sorted(entries, key=lambda entry: entry.place)
    for source, found in groupby(by_place, key=lambda entry: entry.place.source):
        for run in _runs(list(found)):
            wanted = {entry.place.position: entry for entry in run}
            span = run[0].place.position, run[-1].place.position + 1
            for record in chain.from_iterable(reader.read(source, *span)):
                if record.position in wanted:
                    yield wanted.pop(record.position), record
            if wanted:
                raise LogError(f"{source}@{min(wanted)} was there and is not any more")


def _runs(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Entries of one partition, in order, parted where many positions lie between two."""
    run: list[Entry] = []
    for entry in entries:
        if run and entry.place.position - run[-1].place.position > GAP_MAX:
            yield run
            run = []
        run.append(entry)
    yield run
