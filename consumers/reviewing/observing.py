"""Observing: what becomes of one writer's records in one range of the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from consumers.reviewing.evidence import SITES_MAX, First, Observed, Seen, merge_seen
from consumers.reviewing.readings import Reading
from consumers.reviewing.sites import Happening, Hit, Shown, Unreadable
from streams.record import Record
from streams.schemas.decoder import BAD_BYTES, why

WHY_CHARS_MAX: Final = 1_000
"""Characters of a reason that are kept: an upcaster's may have the record in it."""


class Observing:
    """One writer's records in one range."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._walk = reading.walk
        self._observed = Observed()
        self._seen: dict[int, Seen] = {}
        self._hits: list[Hit] = []
        self._decoded: First | None = None

    def add(
        self, values: Sequence[Any], places: Sequence[int], start: int, records: Sequence[Record]
    ) -> None:
        """Read some of a batch's records, which are made only where they are needed."""
        walk, hits, observed = self._walk, self._hits, self._observed
        hit = hits.append
        observed.records += len(places)
        if observed.first is None:
            observed.first = first_of(records[places[0]], Shown("", ""))
        for n in places:
            try:
                walk(values[n], start, hit)
            except Unreadable as error:
                site = self._reading.sites[error.site]
                is_new = not self._reading.fails_today(values[n], start)
                self._fail(site.path, str(error), records[n], is_new=is_new)
            except BAD_BYTES as error:
                self._fail("$", f"nobody can read it: {why(error)}", records[n], is_new=False)
            else:
                if hits:
                    self._note(records, n)
                if self._decoded is None:
                    self._decoded = first_of(records[n], Shown("", ""))

    def finish(self) -> Observed:
        """What became of them."""
        sites, observed = self._reading.sites, self._observed
        for k in self._reading.always if self._decoded else ():
            assert self._decoded is not None
            shown = sites[k].show(None)
            first = msgspec.structs.replace(
                self._decoded, today=shown.today, candidate=shown.candidate
            )
            merge_seen(
                observed.sites, {(sites[k].happening, sites[k].path): Seen(observed.decoded, first)}
            )
        for k, seen in self._seen.items():
            key = sites[k].happening, sites[k].path
            if key in observed.sites:  # where it always happens, it happens to a part as well
                continue
            observed.sites[key] = seen
        return observed

    def _note(self, records: Sequence[Record], n: int) -> None:
        hits, seen = self._hits, self._seen
        for k in {k for k, _ in hits} if len(hits) > 1 else (hits[0][0],):
            if k in seen:
                seen[k].count += 1
            elif len(seen) < SITES_MAX:
                raw = next(raw for other, raw in hits if other == k)
                shown = self._reading.sites[k].show(raw)
                seen[k] = Seen(1, first_of(records[n], shown))
        hits.clear()

    def _fail(self, path: str, reason: str, record: Record, *, is_new: bool) -> None:
        self._hits.clear()
        self._observed.failed += 1
        self._observed.failed_today += not is_new
        happening = Happening.FAILED if is_new else Happening.UNREADABLE
        seen = Seen(1, first_of(record, Shown("", ""), reason))
        merge_seen(self._observed.sites, {(happening, path): seen})


def first_of(record: Record, shown: Shown, reason: str = "") -> First:
    """A record to which something happened, as the first one."""
    why = reason[:WHY_CHARS_MAX]
    return First(
        record.appended_at_ms, record.topic, record.partition, record.position, *shown, why
    )
