"""What holds of the verdict on any pair."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from hypothesis import assume, given, settings

from streams.schemas.compatibility import Report, compare, parse_schema, resolving
from streams.schemas.compatibility import pairs as comparing
from streams.schemas.compatibility.alike import is_alike
from streams.schemas.spelling import in_full
from tests.schemas.pairs import Pair, pairs


def documented(schema: Any) -> Any:
    """The schema with a doc wherever one may stand."""
    if isinstance(schema, list):
        return [documented(branch) for branch in schema]
    if not isinstance(schema, dict):
        return schema
    more = {"doc": "Said."} if "name" in schema else {}
    inner = {
        key: documented(schema[key])
        for key in ("type", "items", "values", "fields")
        if key in schema
    }
    return {**schema, **inner, **more}


def outside_of_paths(report: Report) -> list[tuple[str, str]]:
    return sorted((finding.kind, finding.message) for finding in report.findings)


@settings(deadline=None)
@given(pairs())
def test_docs_are_nothing(pair: Pair) -> None:
    """A reader that only documents itself gets the same findings."""
    assume(pair.writer != pair.reader)
    assert compare(pair.writer, documented(pair.reader)) == compare(*pair)


@settings(deadline=None)
@given(pairs())
def test_a_list_of_it_says_the_same(pair: Pair) -> None:
    """What there is to say of two types, there is of arrays of them; only the paths are longer."""
    assume(pair.writer != pair.reader)
    arrays = [{"type": "array", "items": schema} for schema in pair]
    inside, alone = compare(*arrays), compare(*pair)
    assert outside_of_paths(inside) == outside_of_paths(alone)
    assert all(finding.path.startswith("$[]") for finding in inside.findings)


@settings(deadline=None)
@given(pairs())
def test_null_last_takes_nothing_away(pair: Pair) -> None:
    """A reader that also takes null reads whatever it read before."""
    reader = pair.reader if isinstance(pair.reader, list) else [pair.reader]
    assume("null" not in reader and {"type": "null"} not in reader)
    assume(pair.writer != pair.reader)
    assert compare(pair.writer, [*reader, "null"]).compatible or not compare(*pair).compatible


@settings(deadline=None)
@given(pairs())
def test_a_released_version_is_compared_as_any(pair: Pair) -> None:
    """Parsing it once, and less strictly, changes no verdict."""
    parsed = [parse_schema(schema, released=True) for schema in pair]
    assert compare(*parsed) == compare(*pair)
    assert compare(pair.writer, pair.writer).findings == ()


@settings(deadline=None)
@given(pairs())
def test_spelled_in_full_it_is_the_same(pair: Pair) -> None:
    """Names in full say what short ones in a namespace do, and are in full already."""
    for schema in pair:
        full = in_full(schema)
        assert is_alike(parse_schema(schema), parse_schema(full))
        assert in_full(full) == full


@settings(deadline=None)
@given(pairs())
def test_what_is_passed_over_at_one_look_has_nothing_to_say(pair: Pair) -> None:
    """Whoever looks into everything finds the same."""
    briefly = compare(*pair)
    with (
        patch.object(comparing, "says_nothing", return_value=False),
        patch.object(resolving, "says_nothing", return_value=False),
    ):
        assert compare(*pair) == briefly
