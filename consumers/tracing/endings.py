"""Messages made of records, each with how the groups finished with it.

The index says how and when, the journal why (where a record was not simply handled), the dead
letters after how many attempts and of which handlers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from consumers.index import Ended
from consumers.journal import Outcome
from consumers.tracing.searching import Collected, Lookup
from consumers.tracing.tree import Ending, Message, Sighting
from streams.dead_letters import NOWHERE, DeadLetter, redrive_of
from streams.envelope import ATTEMPT, Envelope
from streams.errors import DecodeError
from streams.record import Place, Record
from streams.schemas import Codec
from streams.topics import Namespace

_BEGUN: Final = frozenset({Outcome.HANDLED, Outcome.DEAD_LETTERED})
"""Outcomes of what handlers may have run on."""


class Endings:
    """Step 4: what was collected, message by message, with how it ended."""

    def __init__(
        self, collected: Collected, lookup: Lookup, codec: Codec, namespace: Namespace
    ) -> None:
        self._collected = collected
        self._lookup = lookup
        self._codec = codec
        self._namespace = namespace
        self._letters: dict[tuple[Place, str], tuple[DeadLetter, Place]] = {}
        self._unroutable: dict[Place, DeadLetter] = {}
        """What was never on a topic but that of its dead letters, by its place there."""
        self._records: dict[str, list[Record]] = {}
        self._envelopes: dict[str, Envelope] = {}

    def messages(self) -> list[Message]:
        """One for each envelope that was found."""
        for record, envelope in self._collected.found.values():
            self._take(record, envelope)
        places = [one.place for records in self._records.values() for one in records]
        ended = self._collected.index.outcomes(places)
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
                is_outside=id_ in self._collected.outside,
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
