"""Modes are pairs of readers and writers over the versions of a type."""

from __future__ import annotations

import pytest

from streams.schemas.compatibility import Mode, check_mode, pairs_of
from tests.schemas.compatibility.cases import TOGGLED, field, one, record

WITHOUT, WITH_DEFAULT, REQUIRED = TOGGLED


@pytest.mark.parametrize(
    ("mode", "pairs"),
    [
        (Mode.BACKWARD, [(3, 2)]),
        (Mode.FORWARD, [(2, 3)]),
        (Mode.FULL, [(3, 2), (2, 3)]),
        (Mode.BACKWARD_TRANSITIVE, [(3, 0), (3, 1), (3, 2)]),
        (Mode.FORWARD_TRANSITIVE, [(0, 3), (1, 3), (2, 3)]),
        (Mode.FULL_TRANSITIVE, [(3, 0), (0, 3), (3, 1), (1, 3), (3, 2), (2, 3)]),
        (Mode.NONE, []),
    ],
)
def test_a_mode_is_pairs_of_reader_and_writer(mode: Mode, pairs: list[tuple[int, int]]) -> None:
    """The candidate is number three; a type without versions promises nothing yet."""
    assert pairs_of(mode, 3) == pairs
    assert pairs_of(mode, 0) == []


def test_a_default_toggled_over_three_versions() -> None:
    """Added with a default, then required: the last version reads the second, not the first."""
    assert check_mode(Mode.BACKWARD, [WITHOUT, WITH_DEFAULT], REQUIRED).compatible
    report = check_mode(Mode.BACKWARD_TRANSITIVE, [WITHOUT, WITH_DEFAULT], REQUIRED)
    assert not report.compatible
    [failed] = [check for check in report.checks if not check.report.compatible]
    assert (failed.reader, failed.writer) == (2, 0)
    assert [finding.path for finding in failed.report.findings] == ["$.b"]


@pytest.mark.parametrize(
    ("mode", "compatible"),
    [
        (Mode.BACKWARD, False),
        (Mode.FORWARD, True),
        (Mode.FULL, False),
        (Mode.FORWARD_TRANSITIVE, True),
        (Mode.FULL_TRANSITIVE, False),
        (Mode.NONE, True),
    ],
)
def test_a_required_field_is_forward_only(mode: Mode, *, compatible: bool) -> None:
    """Old readers ignore it; the new one misses it in old records."""
    assert check_mode(mode, [WITHOUT], REQUIRED).compatible is compatible


def test_an_alias_that_was_removed_too_early() -> None:
    """Renamed with an alias, then without: fine to the last version, not to the first."""
    versions = [one("int"), record("R", field("g", "int", aliases=["f"]))]
    candidate = record("R", field("g", "int"))
    assert check_mode(Mode.BACKWARD, versions, candidate).compatible
    assert not check_mode(Mode.BACKWARD_TRANSITIVE, versions, candidate).compatible
