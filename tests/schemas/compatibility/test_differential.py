"""Our verdicts against fastavro's decoder and Avro Java's checker and decoder, pair by pair.

Pairs are made from seeds: 20,000 of them in every run, the same ones; as many as
`AGENTLOG_SCHEMA_PAIRS` says, from seed `AGENTLOG_SCHEMA_PAIRS_FROM` on, on demand. A seed that was
told of makes its pair again: `pair_of(Random(seed))`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from streams.schemas.compatibility import InvalidSchema, parse_schema
from tests.schemas.compatibility.cases import CASES, enum, field, record
from tests.schemas.compatibility.java import REFUSED, Judge, running_judge
from tests.schemas.compatibility.judging import Judged, judged
from tests.schemas.compatibility.rulings import RULINGS, Ruling, uncovered
from tests.schemas.pairs import Pair, pair_of

PAIRS = int(os.environ.get("AGENTLOG_SCHEMA_PAIRS", "20000"))
FIRST = int(os.environ.get("AGENTLOG_SCHEMA_PAIRS_FROM", "0"))
TOLD_MAX = 5


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with running_judge(tmp_path_factory.mktemp("judge")) as running:
        yield running


def told(one: Judged) -> str:
    """All there is to know of a pair that somebody disagrees on."""
    findings = [f"  {it.severity} {it.kind} {it.path}: {it.message}" for it in one.report.findings]
    return "\n".join(
        [
            f"{one.name}: {', '.join(sorted(uncovered(one)))}",
            f"  writer {json.dumps(one.pair.writer)}",
            f"  reader {json.dumps(one.pair.reader)}",
            *findings,
            f"  fastavro: {next(filter(None, one.fastavro), 'reads')}",
            f"  checker: {one.java.checker}",
            f"  Java: {next(filter(None, one.java.decoded), 'reads')}",
        ]
    )


# What the specification has no word for: whether Java's parser takes it, and whether ours does of a
# file; and of a released version.
SPELLINGS: dict[str, tuple[Any, bool, bool, bool]] = {
    "a namespace that is null": (record("R", namespace=None), True, True, True),
    "one inside that is null, and is the one around it": (
        record("n.R", field("a", enum("E", "A", namespace=None)), field("b", "n.E")),
        True,
        True,
        True,
    ),
    "a doc that is null": (record("R", field("a", "int", doc=None), doc=None), True, True, True),
    "aliases that are null": (record("R", aliases=None), False, False, False),
    "a field's aliases that are null": (
        record("R", field("f", "int", aliases=None)),
        False,
        False,
        False,
    ),
    "an order that is null": (record("R", field("f", "int", order=None)), False, False, False),
    "an enum's default that is null": (enum("E", "A", default=None), True, False, True),
    # Not after 1.12.1: AVRO-4176.
    "a name in an object": (
        record("R", field("a", enum("E", "A")), field("b", {"type": "E"})),
        True,
        False,
        True,
    ),
}


@pytest.mark.parametrize(
    ("schema", "by_java", "as_file", "as_released"), SPELLINGS.values(), ids=SPELLINGS
)
def test_spellings(
    judge: Judge, schema: Any, *, by_java: bool, as_file: bool, as_released: bool
) -> None:
    """What Java's parser takes of them is as the table says, and what ours does."""
    [verdict] = judge.judge([(schema, schema, [])])
    assert (not verdict.checker.startswith(REFUSED)) is by_java, verdict.checker
    assert _is_taken(schema, released=False) is as_file
    assert _is_taken(schema, released=True) is as_released


def _is_taken(schema: Any, *, released: bool) -> bool:
    try:
        parse_schema(schema, released=released)
    except InvalidSchema:
        return False
    return True


@pytest.mark.timeout(1_800)
def test_generated_pairs(judge: Judge) -> None:
    """No one disagrees on any, but for what a ruling says and shows."""
    seeds = range(FIRST, FIRST + PAIRS)
    seen: Counter[bool] = Counter()
    wrong = []
    for one in judged(judge, ((str(seed), pair_of(Random(seed))) for seed in seeds)):
        seen[one.report.compatible] += 1
        if uncovered(one):
            wrong.append(one)
    wrong.sort(key=lambda one: len(json.dumps(one.pair)))
    assert not wrong, f"{len(wrong)} of {PAIRS}\n" + "\n".join(map(told, wrong[:TOLD_MAX]))
    assert min(seen[True], seen[False]) > PAIRS / 5, seen


def test_listed_pairs(judge: Judge) -> None:
    """Nor on any case of the table."""
    pairs = [(case.name, Pair(case.writer, case.reader)) for case in CASES]
    wrong = [one for one in judged(judge, pairs) if uncovered(one)]
    assert not wrong, "\n".join(map(told, wrong))


@pytest.mark.parametrize("ruling", RULINGS, ids=[ruling.name for ruling in RULINGS])
def test_evidence(judge: Judge, ruling: Ruling) -> None:
    """Each ruling's own pair is disagreed on, as it says, by those that it names."""
    [one] = judged(judge, [(ruling.name, Pair(ruling.writer, ruling.reader))])
    assert ruling.disagreement in one.disagreements, told(one)
    assert ruling.covers(one)
