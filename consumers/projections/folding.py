"""The small pieces that folds are made of: counts that add up, and values that the newest wins.

Each changes its first argument in place and commutes, so a projection made of them alone merges
in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from consumers.projections.projection import Stamp
from streams.topics import INBOX, REPLIES

Newest = list[Any]
"""A value behind the stamp that wrote it: `[created_at, …, position, value]`, as CBOR keeps it."""

_COPIED: Final = frozenset({INBOX, REPLIES})
_STAMP_LENGTH: Final = len(Stamp._fields)


def count(counts: dict[str, int], key: str, n: int = 1) -> None:
    """Add `n` to one count."""
    counts[key] = counts.get(key, 0) + n


def add_counts(counts: dict[Any, int], more: Mapping[Any, int]) -> dict[Any, int]:
    """Add every count of `more`."""
    for key, n in more.items():
        counts[key] = counts.get(key, 0) + n
    return counts


def keep_newest(values: dict[str, Newest], key: str, stamp: Stamp, value: Any) -> None:
    """Set `key` to `value` unless something newer is there."""
    held = values.get(key)
    if held is None or tuple(held[:_STAMP_LENGTH]) < stamp:
        values[key] = [*stamp, value]


def merge_newest(values: dict[str, Newest], more: Mapping[str, Newest]) -> dict[str, Newest]:
    """The newer of both, key by key."""
    for key, other in more.items():
        held = values.get(key)
        if held is None or held[:_STAMP_LENGTH] < other[:_STAMP_LENGTH]:
            values[key] = other
    return values


def newest(values: Mapping[str, Newest]) -> dict[str, Any]:
    """The values alone, keys sorted."""
    return {key: held[_STAMP_LENGTH] for key, held in sorted(values.items())}


def has_copies(topic: str) -> bool:
    """Whether a topic (full name) may hold several records of one message (see `routing`)."""
    return topic.rpartition(".")[2] in _COPIED


def is_first_copy(
    topic: str, key: bytes | None, recipients: Sequence[str], reply_to: str | None
) -> bool:
    """Whether this record stands for its message.

    Inboxes, and replies that name no instance, hold a record per recipient, keyed by it: the
    first recipient's stands for all.
    """
    if len(recipients) < 2 or not has_copies(topic):
        return True
    return (reply_to is not None and topic.endswith(REPLIES)) or key == recipients[0].encode()


def widen(state: dict[str, Any], span: str, first: int, last: int) -> None:
    """Widen `first_<span>` … `last_<span>` of a state to hold these; None is the empty span."""
    begin, end = state[f"first_{span}"], state[f"last_{span}"]
    state[f"first_{span}"] = first if begin is None else min(begin, first)
    state[f"last_{span}"] = last if end is None else max(end, last)
