"""Asking the index: positions by key, and how groups finished with what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from consumers.index import keys
from consumers.index.keys import TOPIC_NAMES, TOPIC_NUMBERS, Key
from consumers.index.model import OUTCOMES
from consumers.read_models import View
from streams.record import Partition, Place
from streams.topics import JOURNAL, Namespace

ASKED_MAX: Final = 200
"""Keys of one statement."""
RUNS_MAX: Final = 64
"""Runs behind a position that are looked through if the next is not around it: at least once,
positions end more often than once, and runs overlap."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a group finished with a record. Times are milliseconds."""

    group: str
    """Full name."""
    outcome: str
    settled_at_ms: int
    """Epoch: when its commit was appended to the journal."""
    waited_ms_min: int | None
    waited_ms_max: int | None
    """Dispatch less append time, of the records of its commit; None: it was not counted."""
    journal: Place
    """Where the journal says so."""


class Index:
    """The index at one moment."""

    def __init__(self, view: View, namespace: Namespace) -> None:
        self._view = view
        self._namespace = namespace
        self._topics = {n: namespace.topic(name) for n, name in TOPIC_NAMES.items()}
        self._numbers = {namespace.topic(name): n for name, n in TOPIC_NUMBERS.items()}

    def positions(self, key: Key, texts: Iterable[str], limit: int) -> list[Place]:
        """Where records with one of these keys are, or with one of the same hash: at most `limit`,
        by topic, partition and position.
        """
        entries = self._view.tables["entries"].c
        found: set[tuple[int, int, int]] = set()
        hashes = sorted({keys.key_hash(text) for text in texts})
        for some in _chunks(hashes):
            query = (
                sa.select(entries.topic, entries.partition, entries.position)
                .where(entries.kind == key.value, entries.hash.in_(some))
                .order_by(entries.topic, entries.partition, entries.position)
                .limit(limit)
            )
            found.update((row[0], row[1], row[2]) for row in self._view.connection.execute(query))
        return [
            Place(Partition(self._topics[topic], partition), position)
            for topic, partition, position in islice(sorted(found), limit)
        ]

    def positions_within(
        self, key: Key, text: str, source: Partition, span: range, limit: int
    ) -> list[int]:
        """Positions on one partition, within a span, of records with this key, or with one of the
        same hash: the first `limit` of them, in order.
        """
        topic = self._numbers.get(source.topic)
        if topic is None:
            return []
        entries = self._view.tables["entries"].c
        query = (
            sa.select(entries.position)
            .where(
                entries.kind == key.value,
                entries.hash == keys.key_hash(text),
                entries.topic == topic,
                entries.partition == source.index,
                entries.position >= span.start,
                entries.position < span.stop,
            )
            .order_by(entries.position)
            .limit(limit)
        )
        return list(self._view.connection.execute(query).scalars())

    def outcomes(self, places: Iterable[Place]) -> dict[Place, list[Ended]]:
        """How the groups that have finished with these records did, by group's name."""
        by_source: dict[Partition, list[int]] = {}
        for source, position in sorted(set(places)):
            if source.topic in self._numbers:
                by_source.setdefault(source, []).append(position)
        found: dict[Place, list[Ended]] = {}
        for source, positions in by_source.items():
            for number in self._groups_of(source):
                for position in positions:
                    run = self._run_around(source, number, position)
                    if run is not None:
                        ended = self._ended(self._group_names[number], run)
                        found.setdefault(Place(source, position), []).append(ended)
        for ended_here in found.values():
            ended_here.sort(key=lambda one: one.group)
        return found

    @cached_property
    def _group_names(self) -> dict[int, str]:
        groups = self._view.tables["groups"]
        rows = self._view.connection.execute(sa.select(groups.c.number, groups.c.name))
        return {row.number: row.name for row in rows}

    def _groups_of(self, source: Partition) -> Iterator[int]:
        """Numbers of the groups that have finished anything there: a seek for each."""
        at = {"topic": self._numbers[source.topic], "partition": source.index}
        number: int | None = 0
        while True:
            number = self._view.connection.execute(
                self._next_group, {**at, "after": number}
            ).scalar()
            if number is None:
                return
            yield number

    def _run_around(self, source: Partition, group: int, position: int) -> Any | None:
        """The first of the next runs of a group that has the position in it: mostly the next."""
        at = {"topic": self._numbers[source.topic], "partition": source.index}
        rows = self._view.connection.execute(
            self._next_runs, {**at, "group_number": group, "position": position}
        )
        found = next((row for row in rows if row.first <= position), None)
        rows.close()
        return found

    @cached_property
    def _next_group(self) -> sa.Select[Any]:
        runs = self._view.tables["outcomes"].c
        return sa.select(sa.func.min(runs.group_number)).where(
            runs.topic == sa.bindparam("topic"),
            runs.partition == sa.bindparam("partition"),
            runs.group_number > sa.bindparam("after"),
        )

    @cached_property
    def _next_runs(self) -> sa.Select[Any]:
        runs = self._view.tables["outcomes"]
        return (
            sa.select(runs)
            .where(
                runs.c.topic == sa.bindparam("topic"),
                runs.c.partition == sa.bindparam("partition"),
                runs.c.group_number == sa.bindparam("group_number"),
                runs.c.last >= sa.bindparam("position"),
            )
            .order_by(runs.c.last)
            .limit(RUNS_MAX)
        )

    def _ended(self, group: str, run: Any) -> Ended:
        journal = Partition(self._namespace.topic(JOURNAL), run.journal_partition)
        return Ended(
            group=group,
            outcome=OUTCOMES.get(run.outcome, "unknown"),
            settled_at_ms=run.settled_at_ms,
            waited_ms_min=run.waited_ms_min,
            waited_ms_max=run.waited_ms_max,
            journal=Place(journal, run.journal_position),
        )


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), ASKED_MAX):
        yield items[start : start + ASKED_MAX]
