"""Promises: what `subjects.toml` says of a type, at the base and now. Pure.

A change may pass by asking less of itself: a looser mode, another waiver. So what is asked is
compared too, and shown where nothing else of a type changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Final

import msgspec

from streams.schemas.compatibility import Mode
from streams.schemas.compatibility.modes import pairs_of
from streams.schemas.subjects import Subject, Waiver

_VERSIONS: Final = 2
"""Released versions from which modes differ that differ at all."""


class Promise(msgspec.Struct, frozen=True):
    """One thing that is promised otherwise; None: it was not said, or is not."""

    what: str
    """`mode`, `owner`, `deprecated`, `personal_data` or `waiver`."""
    before: str | Waiver | None
    after: str | Waiver | None
    is_looser: bool = False
    """Less is asked than before."""


def promises(
    before: Subject | None, after: Subject | None, today: date, *, is_new: bool
) -> tuple[Promise, ...]:
    """What changed between them; of a type that is new its waivers alone."""
    if after is None:
        return ()
    found = _promises(before, after, today)
    return tuple(one for one in found if one.what == "waiver" or not is_new)


def _promises(before: Subject | None, after: Subject, today: date) -> Iterator[Promise]:
    for what in ("mode", "owner", "deprecated", "personal_data"):
        one, two = (_text(getattr(side, what, "")) for side in (before, after))
        if one != two:
            yield Promise(what, one or None, two or None, _is_looser(what, before, after))
    was = before.waivers if before is not None else ()
    for waiver in was:
        if waiver not in after.waivers:
            yield Promise("waiver", waiver, None)
    for waiver in after.waivers:
        if waiver not in was:
            yield Promise("waiver", None, waiver, waiver.holds(today))


def _is_looser(what: str, before: Subject | None, after: Subject) -> bool:
    if before is None:
        return False
    if what == "personal_data":  # what is not called so any more is handled as anything else
        return not before.personal_data <= after.personal_data
    return what == "mode" and asks_less(before.mode, after.mode)


def asks_less(before: Mode, after: Mode) -> bool:
    """Whether some version need not read another one any more that had to."""
    return not set(pairs_of(before, _VERSIONS)) <= set(pairs_of(after, _VERSIONS))


def _text(said: str | frozenset[str]) -> str:
    return said if isinstance(said, str) else ", ".join(sorted(said))
