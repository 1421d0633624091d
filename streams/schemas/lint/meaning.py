"""Meaning: types and names that say what a number is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from streams.schemas.lint.rules import NUMBERS, Breach, Linted, Rule, leaves, word_set, words_of
from streams.schemas.walking import FieldSite

UNITS: Final = word_set(
    "ns us ms s nanos micros millis secs seconds minutes hours days weeks months years "
    "bytes kb mb gb tb kib mib gib tib bits chars tokens pixels "
    "percent percentage pct ratio permille degrees celsius kelvin "
    "meters metres km mm kg grams watts volts hz rpm eur usd chf cents"
)
"""Words that say a unit."""
_QUANTITIES: Final = word_set(
    "timeout duration delay interval latency elapsed age ttl period backoff linger time "
    "size memory disk bandwidth usage distance weight temperature"
)
"""Words for what has a unit."""
_UNIT_IN_DOC: Final = re.compile(
    r"\b((nano|micro|milli)?seconds|minutes|hours|days|(kilo|mega|giga|kibi|mebi|gibi)?bytes"
    r"|percent)\b",
    re.IGNORECASE,
)
_COUNTED: Final = word_set("count number index total")
"""Words for what is counted, and has no unit."""
_TIMES: Final = word_set(
    "at timestamp datetime date deadline eta since until expires expiry birthday"
)
"""Last words of names for moments."""
_TIMES_AS_TEXT: Final = word_set("time times")
"""The same, if it is text; a number of that name may be how long something took."""
_NUMERIC: Final = word_set(
    "amount price cost total balance fee rate sum count quantity number score"
)
_MONEY: Final = word_set("amount price cost balance fee salary payment revenue")


def _bare_bytes(linted: Linted) -> Iterator[Breach]:
    for site, words in _named(linted):
        if _speaks_of(words, _NUMERIC) and any(
            leaf.kind in {"bytes", "fixed"} and not leaf.logical
            for leaf in leaves(linted.names, site.node)
        ):
            yield Breach(site.path, "is a number in bare bytes; give it logicalType decimal")


def _money(linted: Linted) -> Iterator[Breach]:
    for site, words in _named(linted):
        if _speaks_of(words, _MONEY) and any(
            leaf.kind in {"float", "double"} for leaf in leaves(linted.names, site.node)
        ):
            yield Breach(site.path, "is money as a binary fraction; make it a decimal")


def _times(linted: Linted) -> Iterator[Breach]:
    for site, words in _named(linted):
        last = next((word for word in reversed(words) if word not in UNITS), "")
        if last in _TIMES and _has_bare(linted, site, NUMBERS):
            yield Breach(site.path, "is a time; give it logicalType timestamp-micros, or date")
        elif last in _TIMES | _TIMES_AS_TEXT and _has_bare(linted, site, {"string"}):
            yield Breach(
                site.path, "is a time in text; make it a long with logicalType timestamp-micros"
            )


def _ids(linted: Linted) -> Iterator[Breach]:
    for site, words in _named(linted):
        if words[-1] in {"id", "ids"} and _has_bare(linted, site, NUMBERS | {"bytes", "fixed"}):
            yield Breach(site.path, "is an id; make it a string, or give it logicalType uuid")
        elif not {"uuid", "guid"}.isdisjoint(words) and _has_bare(
            linted, site, {"string", "bytes", "fixed"}
        ):
            yield Breach(site.path, "is a UUID; give it logicalType uuid")


def _units(linted: Linted) -> Iterator[Breach]:
    for site, words in _named(linted):
        if (UNITS | _COUNTED).isdisjoint(words) and _has_bare(linted, site, NUMBERS):
            said = _UNIT_IN_DOC.search(str(site.field.get("doc") or ""))
            if said or not _QUANTITIES.isdisjoint(words):
                unit = f"{said.group().lower()}, says its doc" if said else "what?"
                yield Breach(site.path, f"has no unit in its name ({unit}); put it last")


def _speaks_of(words: tuple[str, ...], vocabulary: frozenset[str]) -> bool:
    """Whether one of the words is in it, or is the plural of one."""
    return any(word in vocabulary or word.removesuffix("s") in vocabulary for word in words)


def _named(linted: Linted) -> Iterator[tuple[FieldSite, tuple[str, ...]]]:
    for site in linted.fields:
        if words := words_of(site.field["name"]):
            yield site, words


def _has_bare(linted: Linted, site: FieldSite, kinds: frozenset[str] | set[str]) -> bool:
    """Whether it may hold such a value without a logical type."""
    return any(leaf.kind in kinds and not leaf.logical for leaf in leaves(linted.names, site.node))


RULES: Final = (
    Rule("bytes-for-number", "Nobody can tell what bytes count, or how they are cut.", _bare_bytes),
    Rule("float-for-money", "Sums of binary fractions depend on their order.", _money),
    Rule(
        "time-logical-type",
        "A bare number is in nobody knows which unit, since nobody knows when.",
        _times,
    ),
    Rule(
        "id-type",
        "An id is compared, never counted: as a number it loses digits in JSON, as bare bytes "
        "every tool shows it in another way.",
        _ids,
    ),
    Rule("unit-in-name", "Who reads `timeout: 5` waits five of something.", _units),
)
