"""Moments: how a person names a point in the log (`--at`), and the cut it stands for.

    now            the end of the log as it is
    2026-03-01T12:00:00Z    RFC 3339; times are append times, and the moment includes them
    -15m  -1h30m   that long before now (d, h, m, s, ms)
    @NAME          the cut that was saved under that name (`agentlog cut save NAME`)
    @./FILE        the cut in a file
    cut1:…         the cut itself

`parse_moment` is pure; `resolve_at` asks the log.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import msgspec

from streams.cuts import Cut
from streams.errors import ConfigurationError, LogError
from streams.ports import LogReader

NOW: Final = "now"
_MS: Final = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_AGO: Final = re.compile(r"-((?:\d+(?:ms|[dhms]))+)")
_STEP: Final = re.compile(r"(\d+)(ms|[dhms])")
_GRAMMAR: Final = "now, 2026-03-01T12:00:00Z, -15m, @NAME or cut1:…"


class Now(msgspec.Struct, frozen=True):
    """The end of the log as it is."""


class At(msgspec.Struct, frozen=True):
    """All that was appended up to and including this epoch millisecond."""

    epoch_ms: int


class Named(msgspec.Struct, frozen=True):
    """The cut that was written under a name."""

    name: str


Moment = Now | At | Named | Cut


class TimedReader(LogReader, Protocol):
    """A log reader that also finds positions by append time."""

    def ends_at(self, topics: Sequence[str], epoch_ms: int) -> Cut:
        """Each partition's first position whose record was appended after `epoch_ms`."""
        ...


def parse_moment(text: str, now_ms: int) -> Moment:
    """What the text names; `now_ms` is what `-15m` counts back from.

    Raises `ConfigurationError` for anything outside the grammar, and for a date-time without an
    offset, which would mean something else on every machine.
    """
    if text == NOW:
        return Now()
    if text.startswith("cut1:"):
        return Cut.decode(text)
    if text.startswith("@") and len(text) > 1:
        return Named(text[1:])
    if ago := _AGO.fullmatch(text):
        return At(now_ms - sum(int(n) * _MS[unit] for n, unit in _STEP.findall(ago[1])))
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"not a moment: {text!r}; write {_GRAMMAR}") from None
    if instant.tzinfo is None:
        raise ConfigurationError(f"{text!r} has no offset; end it with Z or +02:00")
    return At(int(instant.timestamp() * 1000))


def read_named_cut(name: str) -> str:
    """The text of the cut in the file of this name."""
    try:
        return Path(name).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigurationError(
            f"no cut named {name!r}: {why}; write the `cut` of a `replay --json` there"
        ) from error


def resolve_at(
    reader: TimedReader,
    topics: Sequence[str],
    text: str,
    now_ms: int,
    read_named: Callable[[str], str] = read_named_cut,
) -> Cut:
    """The cut of these topics (full names) that the text names.

    Raises `ConfigurationError` for text outside the grammar, `LogError` for a cut that is not of
    this log or lacks one of the topics.
    """
    match parse_moment(text, now_ms):
        case Now():
            return reader.ends(topics)
        case At(epoch_ms):
            return reader.ends_at(topics, epoch_ms)
        case Named(name):
            return _given(reader, topics, Cut.decode(read_named(name)))
        case Cut() as cut:
            return _given(reader, topics, cut)


def _given(reader: LogReader, topics: Sequence[str], cut: Cut) -> Cut:
    now = reader.ends(topics)
    cut.of(()).require_same_log(now)  # of another cluster, other topics are no wonder
    missing = sorted(set(topics) - set(cut.topic_ids))
    if missing:
        raise LogError(
            f"the cut does not cover topic {missing[0]}, only {', '.join(sorted(cut.topic_ids))}; "
            "take one that does with `agentlog cut now`, in this namespace"
        )
    cut = cut.of(topics)
    cut.require_same_log(now)
    return cut
