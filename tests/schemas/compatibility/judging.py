"""What others make of a pair: fastavro's decoder, and Avro Java's checker and decoder."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from io import BytesIO
from itertools import islice
from random import Random
from typing import Any, Final

import fastavro

from streams.schemas.compatibility import Report, compare, parse_schema
from tests.schemas.compatibility.data import Data
from tests.schemas.compatibility.java import COMPATIBLE, REFUSED, Judge, Verdict
from tests.schemas.pairs import Pair

VALUES: Final = 8
"""Values of each pair that are decoded."""
VALUES_MORE: Final = 250
"""And of one that is called incompatible, if a decoder could read all of those."""
AT_ONCE: Final = 2_000
"""Pairs that are held in memory."""


class Disagreement(StrEnum):
    """Who says otherwise, and how."""

    FASTAVRO_FAILS = "fastavro fails on what is called compatible"
    FASTAVRO_READS = "fastavro reads all of what is called incompatible"
    CHECKER_REFUSES = "Java's checker refuses what is called compatible"
    CHECKER_ACCEPTS = "Java's checker accepts what is called incompatible"
    JAVA_FAILS = "Java's decoder fails on what is called compatible"
    JAVA_READS = "Java's decoder reads all of what is called incompatible"


@dataclass(frozen=True)
class Judged:
    """A pair, what we say of it, and what the others say; decoders: "" or an error for a value."""

    name: str
    pair: Pair
    report: Report
    values: int
    fastavro: list[str]
    java: Verdict

    @property
    def disagreements(self) -> set[Disagreement]:
        """Who says otherwise."""
        ours = self.report.compatible
        return {
            fails if ours else reads
            for theirs, fails, reads in self._others()
            if theirs is not ours
        }

    def _others(self) -> Iterator[tuple[bool, Disagreement, Disagreement]]:
        """Whether each reads it all. One that refused a schema says nothing.

        Nor does anybody of a writer whose every value would be endless.
        """
        if not self.values:
            return
        if self.fastavro:
            reads = not any(self.fastavro)
            yield reads, Disagreement.FASTAVRO_FAILS, Disagreement.FASTAVRO_READS
        if self.java.checker.startswith(REFUSED):
            return
        accepts = self.java.checker == COMPATIBLE
        yield accepts, Disagreement.CHECKER_REFUSES, Disagreement.CHECKER_ACCEPTS
        reads = not any(self.java.decoded)
        yield reads, Disagreement.JAVA_FAILS, Disagreement.JAVA_READS


def judged(judge: Judge, pairs: Iterable[tuple[str, Pair]]) -> Iterator[Judged]:
    """What everybody says of each pair, by its name, which is also the seed of its data."""
    named = iter(pairs)
    while some := list(islice(named, AT_ONCE)):
        found = list(_round(judge, some, VALUES))
        again = [
            (one.name, one.pair)
            for one in found
            if one.disagreements & {Disagreement.FASTAVRO_READS, Disagreement.JAVA_READS}
        ]
        closer = {one.name: one for one in _round(judge, again, VALUES_MORE)}
        yield from (closer.get(one.name, one) for one in found)


def _round(judge: Judge, pairs: list[tuple[str, Pair]], count: int) -> Iterator[Judged]:
    values = [_values(name, pair, count) for name, pair in pairs]
    asked = [(*pair, data) for (_, pair), data in zip(pairs, values, strict=True)]
    verdicts = judge.judge(asked)
    for (name, pair), data, verdict in zip(pairs, values, verdicts, strict=True):
        read = list(_by_fastavro(pair, data))
        yield Judged(name, pair, compare(*pair), len(data), read, verdict)


def _values(name: str, pair: Pair, count: int) -> list[bytes]:
    data = Data(parse_schema(pair.writer), Random(name))
    return [] if data.is_endless else [data.value() for _ in range(count)]


def _by_fastavro(pair: Pair, values: list[bytes]) -> Iterator[str]:
    read: Any = fastavro.schemaless_reader
    try:
        writer, reader = (fastavro.parse_schema(copy.deepcopy(schema)) for schema in pair)
    except fastavro.schema.SchemaParseException:
        return  # a schema that it refuses: it says nothing
    for value in values:
        buffer = BytesIO(value)
        try:
            read(buffer, writer, reader)
        except Exception as error:  # noqa: BLE001 - whatever a reader raises is its outcome
            yield f"{type(error).__name__}: {error}"[:300]
        else:
            yield "" if buffer.tell() == len(value) else "bytes are left over"
