"""Tasks whose handling is a fault in itself, by the type that the load gives them."""

from __future__ import annotations

from typing import Final

PLAIN: Final = "plain"
DEAF: Final = "deaf"
"""Its handler goes on for `DEAF_S`, whatever anybody says."""
POISON: Final = "poison"
"""Its handler fails, every time."""
FLAKY: Final = "flaky"
"""Its handler fails until attempt `FLAKY_ATTEMPTS`."""
KILLER: Final = "killer"
"""Its handler ends the process as running out of memory does: at once, by SIGKILL."""
SLOW: Final = "slow"
"""Its handler takes `SLOW_S`."""
UNDECODABLE: Final = "undecodable"
"""Its value ends in the middle of the envelope."""
UNKNOWN_SCHEMA: Final = "unknown_schema"
"""Its value carries a schema id that nobody knows."""
MORTAL: Final = "mortal"
"""Whoever owns its stream dies when it has decided; once."""
FORGOTTEN: Final = "forgotten"
"""Its handler forgets the result: planted, to be found."""
TWICE: Final = "twice"
"""And this one sends it twice."""

DEAF_S: Final = 12.0
SLOW_S: Final = 25.0
FLAKY_ATTEMPTS: Final = 3

DEAD_LETTERS: Final = frozenset({POISON, KILLER, UNDECODABLE, UNKNOWN_SCHEMA})
"""Those that must end as dead letters, and all others as results."""
BROKEN: Final = frozenset({UNDECODABLE, UNKNOWN_SCHEMA})
"""Those whose value nobody can read."""


def broken(kind: str, value: bytes) -> bytes:
    """The value of such a record, from a good one."""
    if kind == UNKNOWN_SCHEMA:
        return value[:1] + b"\x7f\xff\xff\xf0" + value[5:]
    return value[: len(value) // 3]


def scattered(records: int, *kinds: str, each: int) -> dict[int, str]:
    """So many of each kind, by index, over the middle of a load, on keys of their own."""
    found: dict[int, str] = {}
    step = max(1, records // 2 // (len(kinds) * each)) | 1  # odd: it meets every key
    for n in range(each):
        for m, kind in enumerate(kinds):
            found[records // 4 + (n * len(kinds) + m) * step] = kind
    return found
