"""Ranges: which part of each partition a person asks for, in rpk's grammar.

    start  end     the first position there is; the end as it is now
    +N  -N         N after the start; N before the end (per partition)
    N              that position
    @-1h  @TIME    the first record appended at or after that (RFC 3339, epoch ms, or a time ago)
    A:B            from A to B, as in `+10:end`, `@-2h:-1h`, `@t1:t2`

Parsing is pure; `resolve` asks the log.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from streams.errors import ConfigurationError
from streams.moments import At, TimedReader, parse_moment
from streams.record import Partition

_GRAMMAR: Final = "start, end, +N, -N, N, @-1h, @2026-03-01T12:00:00Z or A:B"
_EPOCH_MS: Final = re.compile(r"\d{13}")


class AfterStart(msgspec.Struct, frozen=True):
    """This many positions after the first one."""

    count: int


class BeforeEnd(msgspec.Struct, frozen=True):
    """This many positions before the end as it is."""

    count: int


class Exactly(msgspec.Struct, frozen=True):
    """This position."""

    position: int


Bound = AfterStart | BeforeEnd | Exactly | At
"""`At`: the first record appended at or after that epoch millisecond."""


class Span(msgspec.Struct, frozen=True):
    """What to read of one partition: start ≤ position < end; no end: follow it."""

    start: int
    end: int | None


def parse_bound(text: str, now_ms: int) -> Bound:
    """What one bound says. Raises `ConfigurationError` for anything outside the grammar."""
    if text == "start":
        return AfterStart(0)
    if text == "end":
        return BeforeEnd(0)
    if text.startswith("@"):
        return _at(text[1:], now_ms)
    sign, digits = (text[0], text[1:]) if text[:1] in {"+", "-"} else ("", text)
    if digits.isascii() and digits.isdecimal():
        match sign, int(digits):
            case "+", count:
                return AfterStart(count)
            case "-", count:
                return BeforeEnd(count)
            case _, position:
                return Exactly(position)
    raise ConfigurationError(f"not a position: {text!r}; write {_GRAMMAR}")


def parse_range(text: str, now_ms: int) -> tuple[Bound, Bound | None]:
    """A bound, or two with a colon between. Raises `ConfigurationError` for anything else.

    Times hold colons too: the first split of which both parts read well counts.
    """
    try:
        return parse_bound(text, now_ms), None
    except ConfigurationError:
        for colon in (n for n, char in enumerate(text) if char == ":"):
            left, right = text[:colon] or "start", text[colon + 1 :] or "end"
            if left.startswith("@") and not right.startswith("@") and right != "end":
                right = f"@{right}"
            try:
                return parse_bound(left, now_ms), parse_bound(right, now_ms)
            except ConfigurationError:
                continue
        raise


def resolve(
    reader: TimedReader, topics: Sequence[str], start: Bound, end: Bound | None
) -> dict[Partition, Span]:
    """Positions per partition of these topics (full names); a bound outside the log is its edge.

    Raises `LogError` if a topic does not exist, `BrokerError` if no broker answers.
    """
    firsts = reader.starts(topics)
    lasts = reader.ends(topics).ends
    starts = _positions(reader, topics, start, firsts, lasts)
    ends = _positions(reader, topics, end, firsts, lasts) if end is not None else None
    return {part: Span(starts[part], ends[part] if ends is not None else None) for part in lasts}


def _positions(
    reader: TimedReader,
    topics: Sequence[str],
    bound: Bound,
    firsts: Mapping[Partition, int],
    lasts: Mapping[Partition, int],
) -> dict[Partition, int]:
    match bound:
        case AfterStart(count):
            found: Mapping[Partition, int] = {part: firsts[part] + count for part in lasts}
        case BeforeEnd(count):
            found = {part: end - count for part, end in lasts.items()}
        case Exactly(position):
            found = dict.fromkeys(lasts, position)
        case At(epoch_ms):
            found = reader.ends_at(topics, epoch_ms - 1).ends
    return {part: min(max(found[part], firsts[part]), end) for part, end in lasts.items()}


def _at(text: str, now_ms: int) -> At:
    if _EPOCH_MS.fullmatch(text):
        return At(int(text))
    try:
        moment = parse_moment(text, now_ms)
    except ConfigurationError:
        moment = None
    if not isinstance(moment, At):
        raise ConfigurationError(f"not a time: {text!r}; write @-1h or @2026-03-01T12:00:00Z")
    return moment
