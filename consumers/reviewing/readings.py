"""Readings: how one writer's records are judged: by a watch, or by decoding each of them twice.

A watch knows what Avro's resolution does. What an upcaster does only its code knows, so records
that one of the sides raises by upcasters are decoded by both, as workers would, and compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, lru_cache
from numbers import Number
from typing import Any, Final, Protocol

from consumers.differences import NOTHING, differences
from consumers.reviewing.envelopes import EnvelopeReading
from consumers.reviewing.evidence import SITES_MAX
from consumers.reviewing.sides import Sides
from consumers.reviewing.sites import Happening, Hit, Shown, Site, Unreadable, text_of
from consumers.reviewing.watch import Watch, front_of, watch_of
from consumers.reviewing.watch_parts import differ
from streams.schemas import Catalogue, WriterSchema
from streams.schemas.compatibility import ParsedSchema, parse_schema
from streams.schemas.decoder import BAD_BYTES
from streams.schemas.upcasting import climb
from streams.schemas.writer_schema import PAYLOAD_FIELD

ELSEWHERE: Final = "(elsewhere)"
"""Where there is no room for further places, as keys of maps may be: one for all of them."""
Tell = Callable[[Hit], None]


class Reading(Protocol):
    """How one writer's records are judged."""

    @property
    def sites(self) -> Sequence[Site]:
        """What has happened, or can; it may grow, up to `SITES_MAX`."""
        ...

    @property
    def always(self) -> tuple[int, ...]:
        """Sites that every record hits which the candidate can read."""
        ...

    def walk(self, b: bytes, i: int, h: Tell) -> None:
        """Tell the hits of the record that begins at `i`. Raises `Unreadable` where the
        candidate's reader fails, one of `BAD_BYTES` for bytes that no reader can read.
        """
        ...

    def fails_today(self, b: bytes, i: int) -> bool:
        """Whether today's reader fails on the record, too."""
        ...


def reading_of(sides: Sides, writer: WriterSchema) -> Reading:
    """How the records of a writer's schema are judged. Raises `InvalidSchema`, `DecodeError`."""
    if sides.is_gone(writer):  # nobody reads it as anything: it is counted, and damage told
        return _Watched(writer, None, None)
    ways = [side.way_up(writer) for side in (sides.today, sides.candidate)]
    if any(rung.step is not None for way in ways for rung in way):
        return _Twice(sides, writer)
    return _Watched(writer, *(_read_as(side, writer) for side in (sides.today, sides.candidate)))


class Readings:
    """How the records of each schema are judged, as far as somebody asked."""

    def __init__(self, sides: Sides) -> None:
        self._sides = sides
        self._found: dict[int, Reading | None] = {}
        self._envelopes: dict[int, Reading] = {}

    def of(self, writer: WriterSchema) -> Reading | None:
        """None: they are read as before. Raises `DecodeError`, `InvalidSchema` for what is none."""
        if writer.id not in self._found:
            affected = self._sides.is_affected(writer)
            self._found[writer.id] = reading_of(self._sides, writer) if affected else None
        return self._found[writer.id]

    def of_envelope(self, writer: WriterSchema) -> Reading | None:
        """None: the envelope did not change. Raises `InvalidSchema`."""
        envelopes = self._sides.envelopes
        if envelopes is None:
            return None
        if writer.id not in self._envelopes:
            self._envelopes[writer.id] = EnvelopeReading(envelopes, writer)
        return self._envelopes[writer.id]


@lru_cache(maxsize=4)
def readings_of(sides: Sides) -> Readings:
    """One for all ranges that a process looks at."""
    return Readings(sides)


class _Watched:
    """What both readers' schemas make of a writer's records; None: it is read as written."""

    def __init__(
        self, writer: WriterSchema, today: ParsedSchema | None, candidate: ParsedSchema | None
    ) -> None:
        self._written = parse_schema(writer.schema, released=True)
        self._today = today
        watch = self._watch(candidate)
        self.sites = watch.sites
        self.always = watch.always
        self.walk = watch.walk

    def _watch(self, candidate: ParsedSchema | None) -> Watch:
        return watch_of(self._written, PAYLOAD_FIELD, self._today, candidate)

    @cached_property
    def _of_today(self) -> Watch:
        return self._watch(self._today)

    def fails_today(self, b: bytes, i: int) -> bool:
        try:
            self._of_today.walk(b, i, lambda _: None)
        except (Unreadable, *BAD_BYTES):
            return True
        return False


class _Twice:
    def __init__(self, sides: Sides, writer: WriterSchema) -> None:
        self._front = front_of(parse_schema(writer.schema, released=True), PAYLOAD_FIELD)
        self._today = climb(sides.today.way_up(writer))
        self._candidate = climb(sides.candidate.way_up(writer))
        self._numbers: dict[tuple[Happening, str], int] = {}
        self.sites: list[Site] = []
        self.always = ()

    def walk(self, b: bytes, i: int, h: Tell) -> None:
        i = self._front(b, i)
        try:
            after = self._candidate(b, i)
        except BAD_BYTES as error:
            raise Unreadable(self._number(Happening.FAILED, "$"), str(error)) from error
        try:
            before = self._today(b, i)
        except BAD_BYTES:
            h((self._number(Happening.MENDED, "$"), ("", "")))
            return
        for path, one, two in _differing(before, after):
            h((self._number(Happening.UPCAST, f"$.{path}"), (one, two)))

    def fails_today(self, b: bytes, i: int) -> bool:
        try:
            self._today(b, self._front(b, i))
        except BAD_BYTES:
            return True
        return False

    def _number(self, happening: Happening, path: str) -> int:
        key = happening, path
        if key not in self._numbers:
            if len(self.sites) >= SITES_MAX - len(Happening):  # room for the others' last one
                key = happening, ELSEWHERE
            if key not in self._numbers:
                self._numbers[key] = len(self.sites)
                self.sites.append(Site(*key, _as_they_are))
        return self._numbers[key]


def _read_as(catalogue: Catalogue, writer: WriterSchema) -> ParsedSchema | None:
    """The payload's schema that it is read as; None: as it was written."""
    last = catalogue.way_up(writer)[-1].writer
    if last.id == writer.id:
        return None
    return parse_schema(last.schema["fields"][-1]["type"], released=True)


def _differing(before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """What both have, and have otherwise; 1 and 1.0 are one value, as a text and its bytes are."""
    for one in differences(before, after):
        values = [one.before, one.after]
        if any(value is NOTHING for value in values):
            continue
        if all(isinstance(value, Number) for value in values) and one.before == one.after:
            continue
        if differ(one.before, one.after):
            yield one.path, one.before, one.after


def _as_they_are(raw: tuple[Any, Any]) -> Shown:
    return Shown(*map(text_of, raw))
