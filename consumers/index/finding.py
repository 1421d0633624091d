"""Asking the index: positions by key, and how groups finished with what is there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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
"""Keys, or positions, of one statement."""
RUNS_MAX: Final = 64
"""Runs behind a position that are looked through where the nearest is not around it: at least once,
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

    def outcomes(self, places: Iterable[Place]) -> dict[Place, list[Ended]]:
        """How the groups that have finished with these records did, by group's name."""
        numbered = [
            (self._numbers[place.source.topic], place.source.index, place.position)
            for place in places
            if place.source.topic in self._numbers
        ]
        found: dict[Place, list[Ended]] = {}
        for some in _chunks(sorted(set(numbered))):
            for row in self._nearest(some):
                hit = row if row.first <= row.position else self._around(row)
                if hit is not None:
                    at = Partition(self._topics[row.topic], row.partition)
                    found.setdefault(Place(at, row.position), []).append(self._ended(row.name, hit))
        for ended in found.values():
            ended.sort(key=lambda one: one.group)
        return found

    def _nearest(self, places: Sequence[tuple[int, int, int]]) -> Iterator[Any]:
        """For each place and group the run that ends next at or behind it, if there is any."""
        outcomes, groups = self._view.tables["outcomes"], self._view.tables["groups"]
        wanted = (
            sa.values(
                sa.column("topic", sa.Integer),
                sa.column("partition", sa.Integer),
                sa.column("position", sa.BigInteger),
                name="places",
            )
            .data(list(places))
            .cte("wanted")
            .c
        )
        runs = outcomes.alias()
        next_last = (
            sa.select(sa.func.min(runs.c.last))
            .where(
                runs.c.topic == wanted.topic,
                runs.c.partition == wanted.partition,
                runs.c.group_number == groups.c.number,
                runs.c.last >= wanted.position,
            )
            .scalar_subquery()
        )
        query = sa.select(
            wanted.position,
            groups.c.name,
            *(column for column in outcomes.columns),
        ).where(
            outcomes.c.topic == wanted.topic,
            outcomes.c.partition == wanted.partition,
            outcomes.c.group_number == groups.c.number,
            outcomes.c.last == next_last,
        )
        best: dict[tuple[int, int, int, int], Any] = {}
        for row in self._view.connection.execute(query):
            at = row.topic, row.partition, row.position, row.group_number
            seen = best.get(at)
            if seen is None or _order(row) < _order(seen):
                best[at] = row
        yield from best.values()

    def _around(self, near: Any) -> Any | None:
        """The first of the next runs that has the position in it."""
        runs = self._view.tables["outcomes"]
        query = (
            sa.select(runs)
            .where(
                runs.c.topic == near.topic,
                runs.c.partition == near.partition,
                runs.c.group_number == near.group_number,
                runs.c.last >= near.position,
            )
            .order_by(runs.c.last)
            .limit(RUNS_MAX)
        )
        rows = self._view.connection.execute(query)
        return next((row for row in rows if row.first <= near.position), None)

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


def _order(run: Any) -> tuple[bool, int, int]:
    """Those with the position in them first; of those what was settled first."""
    return run.first > run.position, run.settled_at_ms, run.journal_position


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), ASKED_MAX):
        yield items[start : start + ASKED_MAX]
