"""The grammar of positions: what a person may write, and which positions that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pytest

from streams.cuts import Cut
from streams.errors import ConfigurationError
from streams.moments import At
from streams.ranges import (
    AfterStart,
    BeforeEnd,
    Bound,
    Exactly,
    Span,
    parse_bound,
    parse_range,
    resolve,
)
from streams.record import Partition, Record

NOW_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
P0, P1 = Partition("t", 0), Partition("t", 1)


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("start", AfterStart(0)),
        ("end", BeforeEnd(0)),
        ("+10", AfterStart(10)),
        ("-10", BeforeEnd(10)),
        ("10", Exactly(10)),
        ("@-1h", At(NOW_MS - HOUR_MS)),
        ("@-1h30m", At(NOW_MS - HOUR_MS * 3 // 2)),
        ("@1767225600001", At(NOW_MS + 1)),
        ("@2026-01-01T00:00:00Z", At(NOW_MS)),
        ("@2026-01-01T02:00:00+02:00", At(NOW_MS)),
    ],
)
def test_one_bound(text: str, bound: Bound) -> None:
    assert parse_bound(text, NOW_MS) == bound
    assert parse_range(text, NOW_MS) == (bound, None)


@pytest.mark.parametrize(
    ("text", "bounds"),
    [
        ("+10:end", (AfterStart(10), BeforeEnd(0))),
        ("5:10", (Exactly(5), Exactly(10))),
        (":10", (AfterStart(0), Exactly(10))),
        ("10:", (Exactly(10), BeforeEnd(0))),
        ("@-2h:-1h", (At(NOW_MS - 2 * HOUR_MS), At(NOW_MS - HOUR_MS))),
        ("@2026-01-01T00:00:00Z:2026-01-01T01:00:00Z", (At(NOW_MS), At(NOW_MS + HOUR_MS))),
        ("@-1h:end", (At(NOW_MS - HOUR_MS), BeforeEnd(0))),
    ],
)
def test_two_bounds(text: str, bounds: tuple[Bound, Bound]) -> None:
    assert parse_range(text, NOW_MS) == bounds


@pytest.mark.parametrize(
    "text", ["", "x", "+", "-", "+-1", "@", "@now", "@x", "1.5", "²", "a:b", "@2026-01-01T00:00:00"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_range(text, NOW_MS)


class Log:
    """Two partitions: positions 5 to 100 and 0 to 3; a position's append time is ten times it."""

    def starts(self, topics: Iterable[str]) -> dict[Partition, int]:
        return {P0: 5, P1: 0}

    def ends(self, topics: Iterable[str]) -> Cut:
        return Cut(cluster_id="c", topic_ids={"t": "id"}, ends={P0: 100, P1: 3})

    def ends_at(self, topics: Sequence[str], epoch_ms: int) -> Cut:
        ends = {part: min(end, epoch_ms // 10 + 1) for part, end in self.ends(topics)}
        return Cut(cluster_id="c", topic_ids={"t": "id"}, ends=ends)

    def read(self, source: Partition, start: int, end: int) -> Iterator[Sequence[Record]]:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("start", (Span(5, None), Span(0, None))),
        ("end", (Span(100, None), Span(3, None))),
        ("+10", (Span(15, None), Span(3, None))),
        ("-10", (Span(90, None), Span(0, None))),
        ("2", (Span(5, None), Span(2, None))),
        ("@0000000000200", (Span(20, None), Span(3, None))),
        ("start:end", (Span(5, 100), Span(0, 3))),
        ("@0000000000200:0000000000301", (Span(20, 31), Span(3, 3))),
    ],
)
def test_a_bound_outside_the_log_is_its_edge(text: str, spans: tuple[Span, Span]) -> None:
    start, end = parse_range(text, NOW_MS)
    assert resolve(Log(), ["t"], start, end) == dict(zip((P0, P1), spans, strict=True))
