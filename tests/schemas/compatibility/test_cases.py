"""Each case of the table: its verdict, the reason for it, where, and which section says so."""

from __future__ import annotations

from typing import Any

import pytest

from streams.schemas.compatibility import FindingKind, Severity, compare, parse_schema
from tests.schemas.compatibility.cases import (
    CASES,
    Case,
    array,
    enum,
    field,
    fixed,
    map_,
    one,
    record,
)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(case: Case) -> None:
    """The verdict is the table's, and the finding that it names is there, at its whole path."""
    report = compare(case.writer, case.reader)
    assert report.compatible is case.compatible, report
    if case.kind is None:
        assert report.findings == ()
        return
    assert (case.kind, case.path) in {(it.kind, it.path) for it in report.findings}, report
    assert case.kind.section == case.section
    if case.compatible:
        assert not report.of(Severity.ERROR)


def test_every_kind_of_finding_has_a_case() -> None:
    """The set of kinds is closed, and none of them goes untested."""
    named = {case.kind for case in CASES}
    assert set(FindingKind) - named == {FindingKind.INVALID_SCHEMA}


def test_a_union_says_of_all_its_branches_why_they_failed() -> None:
    """Those that do not match, the one that does and fails inside, and those behind it."""
    writer = one(record("a.S", field("deep", array(record("T", field("x", "string"))))))
    reader = one(
        ["null", record("a.S", field("deep", array(record("T", field("x", "long"))))), record("S")]
    )
    [said] = [
        found.message
        for found in compare(writer, reader).findings
        if found.kind is FindingKind.NO_UNION_BRANCH
    ]
    assert "null: record a.S was written, and null is no type to read it as" in said
    assert "a.S: matches, but .deep[].x: string was written" in said
    assert "S: would match, but a.S comes first" in said


@pytest.mark.parametrize(
    ("branches", "default", "told"),
    [
        (["null", "int"], None, False),
        ([enum("E", "A"), "string"], "A", False),
        ([enum("E", "A"), "string"], "B", True),
        ([map_("int"), "string"], "x", True),
        ([fixed("F", 4), "string"], "x", True),
        (["int", "double"], 1.5, True),
        (["boolean", "null", "long"], 1, False),
        (["string", "int", "boolean"], True, False),
    ],
)
def test_a_default_that_is_taken_for_an_earlier_branch(
    branches: Any, default: Any, *, told: bool
) -> None:
    """Said where it is read, and where others read something else."""
    found = compare(record("R"), one(branches, default=default))
    assert found.compatible
    assert (FindingKind.UNION_CHOICE in {it.kind for it in found.findings}) is told


def test_a_released_default_of_an_empty_union_says_nothing_of_branches() -> None:
    """It is no value of any."""
    reader = parse_schema(one([], default=None), released=True)
    assert [it.kind for it in compare(record("R"), reader).findings] == [FindingKind.DEFAULT_USED]


def test_a_finding_is_told_once_however_often_its_pair_is_met() -> None:
    """Recursion and a type that is used twice tell of a pair where it is met first."""
    inner = record("S", field("x", "string"), field("more", array("S")))
    writer = record("R", field("a", inner), field("b", "S"))
    wanted = record("S", field("x", "long"), field("more", array("S")))
    reader = record("R", field("a", wanted), field("b", "S"))
    assert [found.path for found in compare(writer, reader).findings] == ["$.a.x"]


def test_long_chains_of_types_are_no_matter() -> None:
    """Two thousand records, each in a field of the next."""
    fields = [field("f0", record("R0", field("x", "int")))]
    fields += [field(f"f{n}", record(f"R{n}", field("x", f"R{n - 1}"))) for n in range(1, 2_000)]
    schema = record("Root", *fields)
    longer = record("Root", field("f0", record("R0", field("x", "string"))), *fields[1:])
    report = compare(schema, longer)
    assert [found.path for found in report.findings] == ["$.f0.x"]
