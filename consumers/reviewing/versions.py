"""The versions of a changed type: what the candidate makes of each, and what is stored of it."""

from __future__ import annotations

from collections.abc import Mapping

from consumers.reviewing.envelopes import envelope_versions
from consumers.reviewing.evidence import Observed
from consumers.reviewing.gathering import Gathered
from consumers.reviewing.sides import ENVELOPE, Change, Sides
from consumers.reviewing.verdict import Version
from streams.schemas import WriterSchema
from streams.schemas.compatibility import Report, compare, parse_schema


def versions_of(
    sides: Sides,
    change: Change,
    gathered: Gathered | None,
    schemas: Mapping[int, WriterSchema],
) -> tuple[Version, ...]:
    """`schemas` are those of the writers that were seen, by id. Raises `InvalidSchema`."""
    read = _envelopes if change.name == ENVELOPE else _versions
    return read(sides, change, gathered, schemas)


def _versions(
    sides: Sides,
    change: Change,
    gathered: Gathered | None,
    schemas: Mapping[int, WriterSchema],
) -> tuple[Version, ...]:
    """Released versions, then what else was seen of the type; evidence only where it was read."""
    observed: Mapping[int, Observed] = gathered.evidence.observed if gathered else {}
    passed: Mapping[int, int] = gathered.evidence.passed if gathered else {}
    rungs = sides.versions(change)
    numbers = {rung.writer.id: rung.version for rung in rungs}
    found = {rung.writer.id: rung.writer for rung in rungs}
    names = {change.name, change.was}
    for schema_id in sorted(observed):
        writer = schemas.get(schema_id)
        if writer is not None and writer.payload_name in names:
            found.setdefault(schema_id, writer)
    reader = parse_schema(change.after, released=True) if change.after else None
    versions = []
    for schema_id, writer in found.items():
        way = sides.candidate.way_up(writer)
        payload = parse_schema(writer.schema["fields"][-1]["type"], released=True)
        versions.append(
            Version(
                label=f"v{numbers[schema_id]}" if schema_id in numbers else f"id {schema_id}",
                schema_id=schema_id,
                report=compare(payload, reader) if reader else Report(),
                has_step=any(rung.step is not None for rung in way),
                observed=observed.get(schema_id),
                passed=passed.get(schema_id, 0),
            )
        )
    return tuple(versions)


def _envelopes(
    sides: Sides,
    change: Change,
    gathered: Gathered | None,
    schemas: Mapping[int, WriterSchema],
) -> tuple[Version, ...]:
    """Of all types: released envelopes, and what else was seen."""
    if sides.envelopes is None or change.after is None:
        return ()
    writers = {one.id: one for one in sides.writers} | dict(schemas)
    observed = gathered.evidence.envelopes if gathered else {}
    return envelope_versions(change.after, writers.values(), observed)
