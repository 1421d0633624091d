"""An audit trail: every record of an agent, channel or correlation, with what became of each.

In the order of the log's own times, and of one partition's positions: what a partition has, its
trail has in that order. Read as it is asked for, a few records of each partition ahead: how long
the trail is costs no memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from consumers.index import Index, Key, has_key
from consumers.read_models import Generations, View
from consumers.read_models.reading import read_live
from consumers.tracing.endings import Endings
from consumers.tracing.searching import Lookup
from consumers.tracing.tree import Ending
from streams.cuts import Cut
from streams.envelope import Envelope
from streams.errors import DecodeError
from streams.record import Partition, Place, Record
from streams.schemas import Codec
from streams.topics import Namespace

AHEAD: Final = 64
"""Records of one partition that are read at once."""
TOGETHER: Final = 100
"""Entries whose outcomes are asked for at once."""


class Entry(NamedTuple):
    """One record of a trail."""

    record: Record
    envelope: Envelope
    endings: tuple[Ending, ...]
    """How each group that has finished with this record did."""


class About(NamedTuple):
    """Whose trail it is: every record that has `text` as one of these keys."""

    keys: tuple[Key, ...]
    text: str


class Trails:
    """Trails in one namespace, up to what the index holds. Not for several threads at once."""

    def __init__(
        self, generations: Generations, lookup: Lookup, codec: Codec, namespace: Namespace
    ) -> None:
        self._generations = generations
        self._lookup = lookup
        self._codec = codec
        self._namespace = namespace

    def read(self, about: About, since: Cut, until: Cut) -> Iterator[Entry]:
        """What lies between the two cuts, oldest first."""
        found = heapq.merge(
            *(
                self._of(about, source, range(since.ends.get(source, 0), end))
                for source, end in until
            ),
            key=lambda one: (one[0].appended_at_ms, one[0].place),
        )
        while some := {one[0].place: one for one in islice(found, TOGETHER)}:
            yield from self._with_endings(some)

    def _of(
        self, about: About, source: Partition, span: range
    ) -> Iterator[tuple[Record, Envelope]]:
        """Those of one partition."""
        while span:
            positions = self._positions(about, source, span)
            places = [Place(source, position) for position in positions]
            records = self._lookup.at(places)
            for place in places:
                record = records.get(place)
                if record is not None and (envelope := self._decoded(record)) is not None:
                    wanted = frozenset({about.text})
                    if any(has_key(record, envelope, key, wanted) for key in about.keys):
                        yield record, envelope
            if len(positions) < AHEAD:
                return
            span = range(positions[-1] + 1, span.stop)

    def _positions(self, about: About, source: Partition, span: range) -> Sequence[int]:
        def ask(view: View) -> list[int]:
            index = Index(view, self._namespace)
            found: set[int] = set()
            for key in about.keys:
                found.update(index.positions_within(key, about.text, source, span, AHEAD))
            return sorted(found)[:AHEAD]

        return read_live(self._generations, ask)

    def _decoded(self, record: Record) -> Envelope | None:
        try:
            return self._codec.decode(record.value, record.headers)
        except DecodeError:
            return None  # indexed when its schema could be found

    def _with_endings(self, found: Mapping[Place, tuple[Record, Envelope]]) -> Iterator[Entry]:
        def ask(view: View) -> dict[Place, list[Ending]]:
            collected = _Collected(Index(view, self._namespace), found)
            endings: dict[Place, list[Ending]] = {}
            for message in Endings(
                collected, self._lookup, self._codec, self._namespace
            ).messages():
                for one in message.endings:
                    endings.setdefault(one.place, []).append(one)
            return endings

        endings = read_live(self._generations, ask)
        for place, (record, envelope) in found.items():
            yield Entry(record, envelope, tuple(endings.get(place, ())))


class _Collected(msgspec.Struct):
    index: Index
    found: Mapping[Place, tuple[Record, Envelope]]
    outside: Collection[str] = ()
