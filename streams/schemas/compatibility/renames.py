"""Renames: which of a writer's fields each of a reader's fields takes, by name or by alias.

A reader's own names go before its aliases, and an alias is followed once: so loops of aliases end,
and two fields that have each other's name as an alias stay apart. What the specification forbids
("subject to the same uniqueness constraints as names") readers do differently: that is said.
"""

from __future__ import annotations

from typing import NamedTuple

from streams.schemas.compatibility.findings import FindingKind
from streams.schemas.compatibility.model import Field, Record


class Taken(NamedTuple):
    """A reader's field, the writer's that it takes if there is one, and what there is to say."""

    reader: Field
    writer: Field | None
    said: tuple[tuple[FindingKind, str], ...] = ()


def fields_taken(writer: Record, reader: Record) -> list[Taken]:
    """Each of the reader's fields with the writer's that it takes."""
    owners = {alias: field.name for field in reader.fields.values() for alias in field.aliases}
    written = writer.fields
    return [
        _taken(writer, reader, field, owners)
        if field.aliases
        else Taken(field, written.get(field.name))
        for field in reader.fields.values()
    ]


def _taken(writer: Record, reader: Record, field: Field, owners: dict[str, str]) -> Taken:
    direct = writer.fields.get(field.name)
    written = [a for a in field.aliases if a in writer.fields and a != field.name]
    free = [a for a in dict.fromkeys(written) if a not in reader.fields and owners[a] == field.name]
    claims = [*([field.name] if direct else []), *free]
    if len(claims) > 1:
        several = " and ".join(repr(claim) for claim in claims)
        message = (
            f"{field.name} takes {several} by name and alias, and the writer has them all: readers "
            "fail or take either; remove the alias that this writer outgrew"
        )
        return Taken(field, direct, ((FindingKind.ALIAS_CONFLICT, message),))
    said = [
        (FindingKind.ALIAS_AMBIGUOUS, _ambiguous(field, alias))
        for alias in dict.fromkeys(field.aliases)
        if alias != field.name and (alias in reader.fields or owners[alias] != field.name)
    ]
    if direct is None and free:
        said.append((FindingKind.RENAMED, f"takes the writer's {free[0]} by its alias"))
        direct = writer.fields[free[0]]
    return Taken(field, direct, tuple(said))


def _ambiguous(field: Field, alias: str) -> str:
    return (
        f"{field.name} has the alias {alias!r}, which another field of the reader claims too: it "
        "is read as that field's here, and Java's decoder moves it or refuses; remove the alias"
    )
