"""Watches: one writer's records read under two schemas at once, by code made for the three.

Most bytes of a record mean the same to today's reader and to the candidate's, and what can happen
where is known from the schemas alone. So a watch is a function that walks over the bytes once,
checks that they are what the writer's schema says, and stops only where something may happen: an
unknown symbol, a number too large for its new type, a moment in another unit. What happens to every
record alike (a default for a field that the writer lacks) costs nothing: `always` has it.

Resolution is the specification's (Avro 1.12, "Schema Resolution"), as in `compatibility`: a logical
type is the reader's. Nothing of a schema gets into the text but through constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from consumers.reviewing.sites import Hit, Site
from consumers.reviewing.watch_telling import Place
from consumers.reviewing.watch_text import SAME, WatchText
from streams.schemas.compatibility.model import ParsedSchema, Record

Walk = Callable[[bytes, int, Callable[[Hit], None]], None]
"""Bytes, where the record begins, what hits are told to. Raises `Unreadable` where the candidate's
reader fails, one of `BAD_BYTES` where the bytes are not what the writer's schema says."""


class Watch(NamedTuple):
    """What can happen to one writer's records, and the function that finds out."""

    sites: tuple[Site, ...]
    always: tuple[int, ...]
    """Sites that every record hits which the candidate can read."""
    walk: Walk


def watch_of(
    written: ParsedSchema,
    payload: str,
    today: ParsedSchema | None,
    candidate: ParsedSchema | None,
) -> Watch:
    """The watch of a writer's whole records; the readers' schemas are of the field `payload`.

    The other fields come before it and are passed over. None: a reader that has the writer's own
    schema, and reads what was written as it is, without resolution.
    """
    made = WatchText()
    made.begin("walk(b, i, h)")
    assert isinstance(written.root, Record)
    for name, field in written.root.fields.items():
        if name != payload:
            made.place(field.type, SAME, SAME, Place("", 1, always=True, checked=False))
    root = written.root.fields[payload].type
    t, c = (root if reader is None else reader.root for reader in (today, candidate))
    made.place(root, t, c, Place("$", 1, always=True))
    made.add(1, "if i != len(b): wrong_end(b, i)")
    walk: Walk = made.walk()
    return Watch(tuple(made.sites.values()), tuple(made.always), walk)


def front_watch_of(
    written: ParsedSchema, today: ParsedSchema | None, candidate: ParsedSchema | None
) -> Watch:
    """The watch of the fields before a payload, of schemas that have those alone."""
    made = WatchText()
    made.begin("walk(b, i, h)")
    t, c = (written.root if reader is None else reader.root for reader in (today, candidate))
    made.place(written.root, t, c, Place("$", 1, always=True))
    made.add(1, "if i > len(b): wrong_end(b, i)")
    walk: Walk = made.walk()
    return Watch(tuple(made.sites.values()), tuple(made.always), walk)


def front_of(written: ParsedSchema, payload: str) -> Callable[[bytes, int], int]:
    """Where the field `payload` begins in a record that begins at a place."""
    made = WatchText()
    made.begin("walk(b, i)")
    assert isinstance(written.root, Record)
    for name, field in written.root.fields.items():
        if name != payload:
            made.place(field.type, SAME, SAME, Place("", 1, checked=False))
    made.add(1, "return i")
    front: Callable[[bytes, int], int] = made.walk()
    return front
