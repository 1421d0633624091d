"""The rows of a state store beside what the log comes to, partition by partition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import cbor2
import msgspec

from consumers.projections import Projection
from consumers.proving.faults import Fault, compared
from consumers.proving.folding import Part
from consumers.state_store import LiveState
from streams.digest import digest
from streams.record import Partition

PARTITIONS_NAMED_MAX: Final = 5
"""Partitions whose live state is shown where it differs; the others are counted."""


def live_faults(
    projection: Projection[Any], live: LiveState[Any], here: Mapping[Partition, Part]
) -> list[Fault]:
    """Partitions whose stored state is not the replayed one, with what differs."""
    found: list[Fault] = []
    others = 0
    for row in sorted(live.rows, key=lambda row: row.source):
        part = here.get(row.source)
        if part is not None and part.failed:
            continue
        stored = cbor2.loads(row.state)
        folded = cbor2.loads(part.stored) if part is not None else projection.initial()
        if digest(stored) == digest(folded):
            continue
        if len(found) == PARTITIONS_NAMED_MAX:
            others += 1
            continue
        where = f"{row.source}@{row.position}"
        found.append(live_differs(projection, where, stored, folded))
    if others:
        detail = f"{found[-1].detail} (and so on {others} more partitions)"
        found[-1] = msgspec.structs.replace(found[-1], detail=detail)
    return found


def live_differs(projection: Projection[Any], where: str, live: Any, folded: Any) -> Fault:
    """The fault that a live state is not the folded one."""
    detail = f"the live state of projection {projection.name} is not what the log comes to"
    return compared("live_differs", where, detail, ("live", live), ("replayed", folded))
