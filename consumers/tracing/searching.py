"""Which records belong to a trace: sought in the index, read from the log.

The index knows hashes; every record found is looked at, and dropped if it is another key's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from consumers.index import Index, Key, has_key
from streams.envelope import Envelope
from streams.errors import DecodeError
from streams.record import Place, Record
from streams.schemas import Codec


class Lookup(Protocol):
    """Reads records by position."""

    def at(self, places: Iterable[Place]) -> Mapping[Place, Record]:
        """The records there; what no committed record is at is left out."""
        ...


class Collected(Protocol):
    """Records, and the index that they were found in."""

    @property
    def index(self) -> Index:
        """Knows how they ended."""
        ...

    @property
    def found(self) -> Mapping[Place, tuple[Record, Envelope]]:
        """By where they are."""
        ...

    @property
    def outside(self) -> Collection[str]:
        """Ids of those that are there for the sake of others alone."""
        ...


class Search:
    """Collects the records of one trace."""

    def __init__(self, index: Index, lookup: Lookup, codec: Codec, records_max: int) -> None:
        self.index = index
        self.found: dict[Place, tuple[Record, Envelope]] = {}
        self.outside: set[str] = set()
        """Ids of causes that are of another correlation."""
        self.is_cut_short = False
        self._lookup = lookup
        self._codec = codec
        self._records_max = records_max
        self._looked_at: dict[Place, tuple[Record, Envelope] | None] = {}

    def run(self, asked: str) -> str | None:
        """Steps 1 to 3; the correlation that it is."""
        correlation: str | None = None
        if self._add(Key.CORRELATION, {asked}):
            correlation = asked
        elif first := self._add(Key.ID, {asked}):
            correlation = first[0].correlation_id or asked
            self._add(Key.CORRELATION, {correlation})
        if correlation is not None:
            self._add(Key.ID, {correlation})  # a root's own id may be its correlation
            self._follow()
            self._add_outside()
        return correlation

    def _follow(self) -> None:
        asked: set[str] = set()
        while new := {envelope.id for _, envelope in self.found.values()} - asked:
            asked |= new
            self._add(Key.CAUSATION, new)
            alone = {
                envelope.id
                for _, envelope in self.found.values()
                if envelope.id in new and envelope.correlation_id is None
            }
            self._add(Key.CORRELATION, alone)

    def _add_outside(self) -> None:
        envelopes = [envelope for _, envelope in self.found.values()]
        known = {envelope.id for envelope in envelopes}
        causes = {one.causation_id for one in envelopes if one.causation_id} - known
        self.outside = {envelope.id for envelope in self._add(Key.ID, causes)}

    def _add(self, key: Key, texts: Collection[str]) -> list[Envelope]:
        """Add the records that one of these keys leads to; those that are new, by position."""
        if not texts:
            return []
        room = self._records_max - len(self.found)
        places = self.index.positions(key, texts, self._records_max + 1)
        wanted = frozenset(texts)
        added: list[Envelope] = []
        self._look([place for place in places if place not in self._looked_at])
        for place in places:
            seen = self._looked_at.get(place)
            if seen is None or place in self.found or not has_key(*seen, key, wanted):
                continue
            if len(added) >= room:
                self.is_cut_short = True
                break
            self.found[place] = seen
            added.append(seen[1])
        if len(places) > self._records_max:
            self.is_cut_short = True
        return added

    def _look(self, places: Collection[Place]) -> None:
        records = self._lookup.at(places)
        for place in places:
            record = records.get(place)
            self._looked_at[place] = None
            if record is not None:
                try:
                    envelope = self._codec.decode(record.value, record.headers)
                except DecodeError:
                    continue  # indexed when its schema could be found
                self._looked_at[place] = record, envelope
