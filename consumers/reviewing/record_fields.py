"""A record's fields under two readers: where each has its fields from, and what is left over.

A field of the candidate's is today's field of the same name, or of its alias. Mostly both readers
take it from the same field of the writer's. Where they do not (an alias that came or went, a
default that another field stands for since), the two sources are compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from streams.schemas.compatibility.findings import FindingKind
from streams.schemas.compatibility.model import AvroType, Field, Record
from streams.schemas.compatibility.renames import fields_taken


class Stored(NamedTuple):
    """One field of the writer's."""

    field: Field
    name: str
    """As the candidate calls it, if it takes it."""
    today: AvroType | None
    """What today's reader takes it as: where the candidate takes it for the same field, or not."""
    candidate: AvroType | None
    appears: bool
    """Only the candidate reads it."""
    is_compared: bool
    """One reader takes it for a field that the other has from elsewhere."""


class Source(NamedTuple):
    """A field that both readers have, and from where: None is its default."""

    today: Field
    candidate: Field
    was: Field | None
    now: Field | None


class Fields(NamedTuple):
    """All fields of a writer's record."""

    fails: tuple[str, str] | None
    """A field that the candidate's reader cannot have, and why."""
    mended: bool
    """Today's reader cannot have all of its own."""
    stored: list[Stored]
    defaulted: list[tuple[Field, Field | None]]
    """The candidate's that the writer lacks, with today's that the writer lacks just as well."""
    elsewhere: list[Source]


def fields_of(w: Record, t: Record | None, c: Record | None) -> Fields:
    """What becomes of the writer's fields; None: a reader that passes the record over."""
    taken_today = fields_taken(w, t) if t else []
    mended = any(_problem(w, *one) for one in taken_today)
    t, taken_today = (None, []) if mended else (t, taken_today)
    before = {one.reader.name: one.writer for one in taken_today}
    if c is None:
        return Fields(None, mended, [_passed(one, t, before) for one in w.fields.values()], [], [])
    taken: dict[str, Field | None] = {}
    for reader, writer, said in fields_taken(w, c):
        taken[reader.name] = writer
        if problem := _problem(w, reader, writer, said):
            return Fields((reader.name, problem), mended, [], [], [])
    others = {name: _counterpart(field, t, c) for name, field in c.fields.items()}
    sources = [
        Source(other, c.fields[name], before.get(other.name), taken[name])
        for name, other in others.items()
        if other is not None
    ]
    elsewhere = [one for one in sources if one.was is not one.now or one.now is None]
    compared = {id(it) for one in elsewhere for it in (one.was, one.now)}
    by_writer = {one.name: c.fields[name] for name, one in taken.items() if one is not None}
    stored = []
    for field in w.fields.values():
        reader_of = by_writer.get(field.name)
        if reader_of is None:
            one = _passed(field, t, before)
        else:
            other = others[reader_of.name]
            same = other is not None and before.get(other.name) is field
            today = other.type if other is not None and same else None
            appears = t is not None and other is None
            one = Stored(field, reader_of.name, today, reader_of.type, appears, False)
        stored.append(one._replace(is_compared=id(field) in compared))
    defaulted = [
        (field, other if other is not None and before.get(other.name) is None else None)
        for name, field in c.fields.items()
        if taken[name] is None
        for other in (others[name],)
    ]
    return Fields(None, mended, stored, defaulted, elsewhere)


def _problem(
    w: Record, reader: Field, writer: Field | None, said: Iterable[tuple[FindingKind, str]]
) -> str:
    """Why a reader cannot have a field of its own; empty if it can."""
    if conflict := [text for kind, text in said if kind is FindingKind.ALIAS_CONFLICT]:
        return conflict[0]
    if writer is None and not reader.has_default:
        return f"{w.name} has no {reader.name}, and there is no default for it"
    return ""


def _passed(field: Field, t: Record | None, before: dict[str, Field | None]) -> Stored:
    """A field that the candidate does not read."""
    today = next((it for it, one in before.items() if one is field), None)
    type_ = t.fields[today].type if t and today else None
    return Stored(field, field.name, type_, None, False, False)


def _counterpart(field: Field, t: Record | None, c: Record) -> Field | None:
    """What today's reader calls a field of the candidate's."""
    if t is None:
        return None
    old = (one for one in field.aliases if one in t.fields and one not in c.fields)
    return t.fields.get(field.name) or t.fields.get(next(old, ""))
