"""Where others say otherwise, and why we hold to what we say: each with evidence that is decoded.

A ruling covers a disagreement on some pairs. Its evidence is a pair on which both decoders are run,
so that the reason given is one that was seen. What no ruling covers is a bug of ours.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from streams.schemas.compatibility import FindingKind as K
from streams.schemas.compatibility import Severity, parse_schema
from streams.schemas.compatibility.alike import is_alike
from tests.schemas.compatibility.cases import (
    array,
    enum,
    field,
    fixed,
    leaking,
    map_,
    one,
    record,
)
from tests.schemas.compatibility.judging import Disagreement, Judged

_NAMED: Final = re.compile(
    r"(record|enum|fixed) (\S+) was written, and (record|enum|fixed) \S+ is no type"
)


class Ruling(NamedTuple):
    """Why a disagreement stands, on which pairs, and a pair that shows it."""

    name: str
    disagreement: Disagreement
    why: str
    covers: Callable[[Judged], bool]
    writer: Any
    reader: Any


def uncovered(judged: Judged) -> set[Disagreement]:
    """The disagreements on a pair that no ruling covers."""
    return judged.disagreements - {
        ruling.disagreement for ruling in RULINGS if ruling.covers(judged)
    }


def _has(*kinds: K) -> Callable[[Judged], bool]:
    """Whether one of these was found."""
    return lambda judged: any(finding.kind in kinds for finding in judged.report.findings)


def _says(text: str) -> Callable[[Judged], bool]:
    """Whether a finding has this in its message."""
    return lambda judged: any(text in finding.message for finding in judged.report.findings)


def _only(*kinds: K) -> Callable[[Judged], bool]:
    """Whether all errors are of these kinds, but for what unions say of them."""
    allowed = {*kinds, K.NO_UNION_BRANCH}
    return lambda judged: {it.kind for it in judged.report.of(Severity.ERROR)} <= allowed


def _names_of_records(judged: Judged) -> bool:
    found = judged.report.of(Severity.ERROR)
    by_name = re.compile(r"record \S+ was written, and record \S+ has another name")
    return all(by_name.search(finding.message) for finding in found if finding.kind in _NAMES)


def _namesakes(judged: Judged) -> bool:
    return any(_NAMED.search(finding.message) for finding in judged.report.of(Severity.ERROR))


_NAMES: Final = (K.NAME_MISMATCH, K.NO_UNION_BRANCH)

RULINGS: Final = (
    Ruling(
        "a namesake of another kind",
        Disagreement.FASTAVRO_FAILS,
        "The specification matches an enum with enums only. fastavro chooses a branch by name, of "
        "whatever kind, and breaks on it. The pair has a warning.",
        _says("fastavro takes the"),
        one(["null", record("S")]),
        one(["null", enum("other.S", "X"), record("S")], doc="New."),
    ),
    Ruling(
        "a branch that only names its type",
        Disagreement.FASTAVRO_FAILS,
        "A type that is defined in one place and named in another is the same type. fastavro takes "
        "the name for the type where a value that is no union meets a union. Agentlog's readers "
        "give it the type: `streams.schemas.resolution`.",
        lambda it: any("string indices must be integers" in error for error in it.fastavro),
        record("R", field("g", enum("E", "X"))),
        record("R", field("f", enum("E", "X"), default="X"), field("g", ["null", "E"])),
    ),
    Ruling(
        "other docs",
        Disagreement.FASTAVRO_FAILS,
        "Docs are nothing to a reader: the two have one canonical form. fastavro takes schemas for "
        "the same only if their docs are, and resolves the others, by the first branch that "
        "matches. Agentlog's readers resolve nothing there.",
        lambda it: is_alike(*map(parse_schema, it.pair)),
        one([record("a.S", field("x", "int")), record("b.S")]),
        one([record("a.S", field("x", "int")), record("b.S", doc="New.")]),
    ),
    Ruling(
        "a short alias across namespaces",
        Disagreement.FASTAVRO_READS,
        "An alias without a dot is in the namespace of its type. fastavro takes it for any "
        "namespace, which other readers do not.",
        lambda it: _only(K.NAME_MISMATCH, K.TYPE_MISMATCH)(it) and '"aliases"' in _text(it),
        one(fixed("a.Old", 1)),
        one(fixed("b.New", 1, aliases=["Old"])),
    ),
    Ruling(
        "kinds of named types",
        Disagreement.FASTAVRO_READS,
        "A fixed is no record. fastavro compares their names alone and hands out the fixed's bytes "
        "where a record is expected.",
        _namesakes,
        one(fixed("S", 1)),
        one(record("S", field("x", "int"))),
    ),
    Ruling(
        "a union of nothing",
        Disagreement.FASTAVRO_READS,
        "No branch can take the value. fastavro takes an empty union for no reader's schema.",
        _says("(it has none)"),
        one("int"),
        one([]),
    ),
    Ruling(
        "an alias while the writer has both, by order",
        Disagreement.FASTAVRO_READS,
        "Two fields of the writer claim one of the reader. fastavro takes the value under the old "
        "name if that comes first, else it breaks; Java's decoder refuses.",
        _has(K.ALIAS_CONFLICT),
        record("R", field("old", "int"), field("new", "int")),
        record("R", field("new", "int", aliases=["old"])),
    ),
    Ruling(
        "the checker counts a field's own name twice",
        Disagreement.CHECKER_REFUSES,
        "A field that has its own name as an alias is still one field. The checker gives up; both "
        "decoders read it.",
        lambda it: "matches multiple fields" in it.java.checker,
        one("int"),
        one("int", aliases=["f"]),
    ),
    Ruling(
        "the checker follows an alias that is a field's own name",
        Disagreement.CHECKER_REFUSES,
        "An alias that is also another field's name breaks the specification's rule; we read each "
        "field by its own name, as fastavro does. The pair has a warning.",
        _has(K.ALIAS_AMBIGUOUS),
        one("string"),
        record("R", field("g", "int", default=1, aliases=["f"]), field("f", "string")),
    ),
    Ruling(
        "the first branch that matches",
        Disagreement.CHECKER_ACCEPTS,
        "The specification resolves against the first branch that matches, by its unqualified "
        "name, and against no other. The checker is content with any; fastavro fails as we say.",
        _says("would match, but"),
        one(record("b.S")),
        one([record("a.S", field("x", "int")), record("b.S")]),
    ),
    Ruling(
        "verdicts of unfinished pairs",
        Disagreement.CHECKER_ACCEPTS,
        "The checker keeps what it thought of a pair while the one around it was unfinished, and "
        "accepts what both decoders fail on.",
        _says("would match, but"),
        *leaking(),
    ),
    Ruling(
        "the checker reads one field twice",
        Disagreement.CHECKER_ACCEPTS,
        "Two fields of the reader claim one of the writer, by name and by alias. The checker gives "
        "it to both; both decoders fail.",
        _has(K.ALIAS_AMBIGUOUS),
        record("R", field("f", "int")),
        record("R", field("f", "int"), field("g", "int", aliases=["f"])),
    ),
    Ruling(
        "full names in unions",
        Disagreement.JAVA_FAILS,
        "The specification matches unqualified names. Java's decoder finds an enum or a fixed in a "
        "union by its full name only, and applies the aliases of fields to the record of that full "
        "name only. The pair has a warning.",
        _has(K.NAMESPACE_DIFFERS),
        one(enum("a.E", "X")),
        one(["null", enum("b.E", "X")]),
    ),
    Ruling(
        "aliases are applied before anything is matched",
        Disagreement.JAVA_FAILS,
        "Java's decoder renames the writer's schema by all of the reader's aliases, twice over, "
        "whatever has those names already. The pair has a warning.",
        _has(K.ALIAS_AMBIGUOUS),
        record("R", field("a", "int"), field("b", "string")),
        record("R", field("a", "long", aliases=["b"]), field("b", "string")),
    ),
    Ruling(
        "an array as the default of a union",
        Disagreement.JAVA_FAILS,
        "It is a value of one of the branches, and the specification allows any. Java's decoder "
        "asks the union for its items.",
        lambda it: any("Not an array" in error for error in it.java.decoded),
        record("R"),
        one([array("int"), map_("int")], default=[]),
    ),
    Ruling(
        "a default of a later branch",
        Disagreement.JAVA_FAILS,
        "The specification allows a value of any branch. Java's decoder takes it for the first one "
        "that is a record, an enum, an array or a map. The pair has a warning.",
        _says("Java's decoder takes the default for"),
        record("R"),
        one([record("S", field("x", "int")), "null"], default=None),
    ),
    Ruling(
        "a default of a union that begins with its own record",
        Disagreement.JAVA_FAILS,
        "The default is a value of another branch. Java's decoder looks for it in the record "
        "first, whose field has that default, and so on without end.",
        lambda it: any("StackOverflowError" in error for error in it.java.decoded),
        record("R"),
        one(["R", "bytes"], default="b"),
    ),
    Ruling(
        "names of records",
        Disagreement.JAVA_READS,
        "Records match by name, says the specification, as do Java's checker and fastavro. Java's "
        "decoder asks for no names.",
        lambda it: _only(K.NAME_MISMATCH)(it) and _names_of_records(it),
        record("Old", field("x", "int")),
        record("New", field("x", "int")),
    ),
    Ruling(
        "the same type before the first that matches",
        Disagreement.JAVA_READS,
        "Java's decoder looks for a branch of the writer's full name before it takes the first "
        "that matches; fastavro fails as we say.",
        _says("would match, but"),
        one(record("b.S")),
        one([record("a.S", field("x", "int")), record("b.S")]),
    ),
    Ruling(
        "renamed first, so that nothing is missing",
        Disagreement.JAVA_READS,
        "Fields that pass their names on, each with the last one's name as an alias: Java's "
        "decoder renames all of the writer's first and reads them, fastavro fails. The "
        "specification forbids such aliases.",
        _has(K.ALIAS_AMBIGUOUS),
        record("R", field("a", "int"), field("b", "string")),
        record("R", field("c", "int", aliases=["a"]), field("a", "string", aliases=["b"])),
    ),
)


def _text(judged: Judged) -> str:
    return json.dumps(judged.pair.reader)
