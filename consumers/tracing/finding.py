"""What belongs to a trace: from the index where it is, from the log what it says.

1. The records whose correlation is what was asked for; or whose message it is, and then those of
   that message's correlation.
2. Whatever was sent because of these, again and again, until there is nothing more.
3. The causes that are not among them: outside of the correlation, or not on the log.
4. How the groups finished with each of the records, and why, where it was not simply handled.

The index knows hashes; every record found is looked at, and dropped if it is another key's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Protocol

import msgspec

from consumers.index import Ended, Index, Key, has_key
from consumers.journal import Outcome
from consumers.read_models import Generations, View, read_live
from consumers.tracing.tree import Ending, Message, Node, Sighting, build_tree
from streams.cuts import Cut
from streams.dead_letters import NOWHERE, DeadLetter, redrive_of
from streams.envelope import ATTEMPT, Envelope
from streams.errors import DecodeError
from streams.record import Place, Record
from streams.schemas import Codec
from streams.topics import Namespace

RECORDS_MAX: Final = 2_000
"""Records of one trace; what is beyond is left out, and said to be."""

_BEGUN: Final = frozenset({Outcome.HANDLED, Outcome.DEAD_LETTERED})
"""Outcomes of what handlers may have run on."""


class Lookup(Protocol):
    """Reads records by position."""

    def at(self, places: Iterable[Place]) -> Mapping[Place, Record]:
        """The records there; what no committed record is at is left out."""
        ...


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """What was found about one key, up to the index's cut."""

    asked: str
    correlation: str | None
    """The correlation that is shown; None if nothing was found."""
    cut: Cut | None
    """What the index held; None: nothing at all."""
    nodes: tuple[Node, ...]
    """The tree, each cause before what it caused; empty: nothing was found."""
    is_cut_short: bool
    """Whether there are more records than a trace may have."""


class Tracer:
    """Traces in one namespace. Kept, its connections stay warm. Not for several threads at once."""

    def __init__(
        self,
        generations: Generations,
        lookup: Lookup,
        codec: Codec,
        namespace: Namespace,
        *,
        records_max: int = RECORDS_MAX,
    ) -> None:
        self._generations = generations
        self._lookup = lookup
        self._codec = codec
        self._namespace = namespace
        self._records_max = records_max

    def trace(self, asked: str) -> Trace:
        """The tree around a correlation id or a message id, at one moment of the index."""

        def ask(view: View) -> Trace:
            search = _Search(
                Index(view, self._namespace), self._lookup, self._codec, self._records_max
            )
            correlation = search.run(asked)
            messages = _Messages(search, self._lookup, self._codec, self._namespace).made()
            return Trace(
                asked=asked,
                correlation=correlation,
                cut=view.cut,
                nodes=tuple(build_tree(messages)),
                is_cut_short=search.is_cut_short,
            )

        return read_live(self._generations, ask)


class _Search:
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


class _Messages:
    """Step 4: what was collected, message by message, with how it ended."""

    def __init__(self, search: _Search, lookup: Lookup, codec: Codec, namespace: Namespace) -> None:
        self._search = search
        self._lookup = lookup
        self._codec = codec
        self._namespace = namespace
        self._letters: dict[tuple[Place, str], tuple[DeadLetter, Place]] = {}
        self._unroutable: dict[Place, DeadLetter] = {}
        """What was never on a topic but that of its dead letters, by its place there."""
        self._records: dict[str, list[Record]] = {}
        self._envelopes: dict[str, Envelope] = {}

    def made(self) -> list[Message]:
        for record, envelope in self._search.found.values():
            self._take(record, envelope)
        places = [one.place for records in self._records.values() for one in records]
        ended = self._search.index.outcomes(places)
        reasons = self._reasons(ended)
        attempts = self._attempts_seen()
        return [
            Message(
                envelope=self._envelopes[id_],
                sightings=tuple(_sighting(one) for one in records),
                endings=(
                    *(
                        self._ending(one, found, reasons, attempts.get(id_))
                        for one in records
                        for found in ended.get(one.place, ())
                    ),
                    *(self._never_routed(one) for one in records if one.place in self._unroutable),
                ),
                is_outside=id_ in self._search.outside,
            )
            for id_, records in self._records.items()
        ]

    def _take(self, record: Record, envelope: Envelope) -> None:
        if record.topic.endswith(".dlq"):
            try:
                letter = DeadLetter.from_record(record)
            except DecodeError:
                return
            if letter.position != NOWHERE:  # the record itself is on its topic, too
                source = Place(letter.source, letter.position)
                self._letters[source, letter.group] = letter, record.place
                return
            self._unroutable[record.place] = letter
        self._envelopes.setdefault(envelope.id, envelope)
        records = self._records.setdefault(envelope.id, [])
        records.append(record)
        records.sort(key=lambda one: (one.appended_at_ms, one.place))

    def _reasons(
        self, ended: Mapping[Place, Collection[Ended]]
    ) -> dict[tuple[Place, int], Mapping[str, Any]]:
        """What the journal says of all that was not simply handled, by (journal, position)."""
        journals = {
            one.journal for found in ended.values() for one in found if one.outcome != "handled"
        }
        reasons: dict[tuple[Place, int], Mapping[str, Any]] = {}
        for place, record in self._lookup.at(journals).items():
            payload = self._codec.decode(record.value, record.headers).payload
            for exception in payload["exceptions"]:
                reasons[place, exception["position"]] = exception
        return reasons

    def _attempts_seen(self) -> dict[str, int]:
        """The last attempt that sent something at once, by the id of what it ran on."""
        seen: dict[str, int] = {}
        for envelope in self._envelopes.values():
            attempt = envelope.headers.get(ATTEMPT, "")
            if envelope.causation_id and attempt.isdecimal() and len(attempt) < 5:
                before = seen.get(envelope.causation_id, 0)
                seen[envelope.causation_id] = max(before, int(attempt))
        return seen

    def _ending(
        self,
        record: Record,
        ended: Ended,
        reasons: Mapping[tuple[Place, int], Mapping[str, Any]],
        attempts: int | None,
    ) -> Ending:
        said = reasons.get((ended.journal, record.position), {})
        letter, letter_at = self._letters.get((record.place, ended.group), (None, None))
        waited_min, waited_max = ended.waited_ms_min, ended.waited_ms_max
        since_append = max(0, ended.settled_at_ms - record.appended_at_ms)
        if waited_min is None or waited_max is None or ended.outcome not in _BEGUN:
            waited_min = waited_max = handling_max = None
        else:
            waited_min = min(waited_min, since_append)
            waited_max = min(waited_max, since_append)
            handling_max = since_append - waited_min
        return Ending(
            group=ended.group.removeprefix(f"{self._namespace.name}."),
            place=record.place,
            outcome=ended.outcome,
            reason=str(said.get("reason", "")),
            detail=letter.error_message if letter else str(said.get("detail", "")),
            settled_at_ms=ended.settled_at_ms,
            waited_ms_min=waited_min,
            waited_ms_max=waited_max,
            handling_ms_max=handling_max,
            attempts=letter.attempts if letter else attempts,
            handlers=letter.handlers if letter else (),
            dead_letter=letter_at,
        )

    def _never_routed(self, record: Record) -> Ending:
        letter = self._unroutable[record.place]
        return Ending(
            group=letter.group.removeprefix(f"{self._namespace.name}."),
            place=record.place,
            outcome=Outcome.DEAD_LETTERED.value,
            reason=letter.error_name,
            detail=letter.error_message,
            settled_at_ms=record.appended_at_ms,
            dead_letter=record.place,
        )


def _sighting(record: Record) -> Sighting:
    return Sighting(
        place=record.place,
        appended_at_ms=record.appended_at_ms,
        key=(record.key or b"").decode("utf-8", "replace"),
        redrive=redrive_of(record.headers),
    )
