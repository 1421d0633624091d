"""Duplicates: which records of one partition repeat an earlier one.

A record is known by its envelope's id, its key (an envelope to several recipients is on the inbox
once under each) and which redrive it is. The window forgets in quarters: what came within the last
`span` positions is remembered, and at most a quarter more.

It is filled from Kafka headers alone, in position order: on assignment the source reads back
`span` positions before the committed one, so it stands as if this owner had read them all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Final

from streams.dead_letters import DLQ_GROUP, DLQ_POSITION, DLQ_TOPIC
from streams.headers import CE_ID, ORIGIN, REDRIVE, REDRIVE_FOR
from streams.record import Record

TELLING: Final = (ORIGIN, REDRIVE, REDRIVE_FOR, DLQ_TOPIC)
"""Headers that say more about what a record repeats than its id and key."""

_PARTS: Final = 4


class RecentRecords:
    """The identities seen on one partition within `span` positions; 0 remembers nothing."""

    def __init__(self, span: int) -> None:
        self._part = max(1, -(-span // _PARTS))
        self._on = span > 0
        self._began: int | None = None
        self._last = -1
        self._current: set[bytes] = set()
        self._earlier: deque[set[bytes]] = deque(maxlen=_PARTS)

    def __len__(self) -> int:
        return len(self._current) + sum(map(len, self._earlier))

    def seen(self, position: int, identity: bytes) -> bool:
        """Whether it was seen before; now it has been. A position that the client hands over again
        (H14) repeats nothing, and is remembered as if it had come once.
        """
        if not self._on or position <= self._last:
            return False
        self._last = position
        if self._began is None or position - self._began >= self._part:
            self._turn(position)
        if identity in self._current:
            return True
        # What repeats is remembered from now on, not from when it was there first.
        self._current.add(identity)
        for part in self._earlier:  # noqa: SIM110 - per record: a generator costs as much again
            if identity in part:
                return True
        return False

    def _turn(self, position: int) -> None:
        """Begin a new quarter; a jump over several leaves their places empty."""
        if self._began is not None:
            parts = (position - self._began) // self._part
            self._earlier.append(self._current)
            for _ in range(min(parts - 1, _PARTS)):
                self._earlier.append(set())
            self._current = set()
            self._began += parts * self._part
        else:
            self._began = position


def identity(envelope_id: bytes, key: bytes | None, redrive: bytes) -> bytes:
    """What names a record in the window."""
    return b"\x00".join((envelope_id, key or b"", redrive))


def repeats(
    recent: RecentRecords, record: Record, headers: Mapping[str, bytes | None], *, telling: bool
) -> bool:
    """Whether the record repeats one that the window remembers; it is remembered from now on.

    `telling`: whether any of its headers is one of `TELLING`; most records have none.
    Imports are history, not work: a live record with such an id repeats nothing.
    """
    envelope_id = headers.get(CE_ID)
    if not envelope_id:
        return False
    if not telling:
        return recent.seen(record.position, identity(envelope_id, record.key, b""))
    if (headers.get(ORIGIN) or b"").startswith(b"import:"):
        return False
    # A record that two groups could not finish is redriven once for each.
    redrive = (headers.get(REDRIVE) or b"") + (headers.get(REDRIVE_FOR) or b"")
    if DLQ_TOPIC in headers:  # each group's failure of a record is a dead letter of its own
        redrive += b"/".join(headers.get(name) or b"" for name in (DLQ_GROUP, DLQ_POSITION))
    return recent.seen(record.position, identity(envelope_id, record.key, redrive))
