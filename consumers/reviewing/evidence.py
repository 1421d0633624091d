"""Evidence: what became of stored records under the candidate, per writer's schema and field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from consumers.reviewing.sites import Happening

SITES_MAX: Final = 1_000
"""Places of one writer's schema that are kept; an upcaster may make up as many as it likes."""


UNKNOWN_MAX: Final = 200
"""Reasons for which records are unknown that are told apart; all others are counted as one."""
OTHERS: Final = "for further reasons, which are not told apart"


class First(msgspec.Struct, frozen=True, order=True):
    """The first record to which something happened, by append time, and what."""

    appended_at_ms: int
    topic: str
    partition: int
    position: int
    today: str = ""
    candidate: str = ""
    why: str = ""

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.position}"


class Seen(msgspec.Struct):
    """How many records something happened to."""

    count: int
    first: First

    def merge(self, other: Seen) -> None:
        """Take what was seen elsewhere."""
        self.count += other.count
        self.first = min(self.first, other.first)


Sites = dict[tuple[Happening, str], Seen]


class Observed(msgspec.Struct):
    """What became of the records of one writer's schema."""

    records: int = 0
    failed: int = 0
    failed_today: int = 0
    """Of the failed, those that today's reader cannot read either."""
    first: First | None = None
    """Of all of them."""
    sites: Sites = msgspec.field(default_factory=dict)
    topics: dict[str, int] = msgspec.field(default_factory=dict)
    """Records by topic (full name)."""

    @property
    def decoded(self) -> int:
        """Records that the candidate's reader can read."""
        return self.records - self.failed

    def merge(self, other: Observed) -> None:
        """Take what was observed elsewhere."""
        self.records += other.records
        self.failed += other.failed
        self.failed_today += other.failed_today
        self.first = min(filter(None, (self.first, other.first)), default=None)
        merge_seen(self.sites, other.sites)
        for topic, count in other.topics.items():
            self.topics[topic] = self.topics.get(topic, 0) + count


class Evidence(msgspec.Struct):
    """What there is in some stretch of the log. Merging commutes."""

    passed: dict[int, int] = msgspec.field(default_factory=dict)
    """Records by schema id, of types that are read as before."""
    observed: dict[int, Observed] = msgspec.field(default_factory=dict)
    """By schema id: those that may be read otherwise."""
    envelopes: dict[int, Observed] = msgspec.field(default_factory=dict)
    """By schema id, where the envelope is another: what becomes of the fields before the payload.
    """
    unknown: dict[str, Seen] = msgspec.field(default_factory=dict)
    """Records of which nobody can say which schema wrote them, by why."""

    @property
    def records(self) -> int:
        """All that was looked at."""
        known = sum(self.passed.values()) + sum(one.records for one in self.observed.values())
        return known + sum(one.count for one in self.unknown.values())

    def merge(self, other: Evidence) -> None:
        """Take what was found elsewhere."""
        for schema_id, count in other.passed.items():
            self.passed[schema_id] = self.passed.get(schema_id, 0) + count
        for mine, theirs in ((self.observed, other.observed), (self.envelopes, other.envelopes)):
            for schema_id, observed in theirs.items():
                mine.setdefault(schema_id, Observed()).merge(observed)
        merge_unknown(self.unknown, other.unknown)


def merge_seen(into: dict[Any, Seen], other: Mapping[Any, Seen]) -> None:
    """Take what was seen elsewhere, as far as there is room."""
    for key, seen in other.items():
        if key in into:
            into[key].merge(seen)
        elif len(into) < SITES_MAX:
            into[key] = seen


def merge_unknown(into: dict[str, Seen], other: Mapping[str, Seen]) -> None:
    """Take what was seen elsewhere: each record is counted, whatever there is room for."""
    for why, seen in other.items():
        key = why if why in into or len(into) < UNKNOWN_MAX else OTHERS
        if key in into:
            into[key].merge(seen)
        else:
            into[key] = seen
