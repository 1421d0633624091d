"""Marks: what a commit leaves for whoever takes a partition over, in the metadata of its position.

    version · flags · position · takeovers · suspect · starts · runs…     (varints, then base64)

- `finished`: what is finished beyond the position, as intervals. A restart runs only the rest.
- `clean`: its owner gave the partition up in order. An owner that finds it unset took over from
  one that died, and counts that in `takeovers`, durably, before it dispatches anything.
- `suspect`, `starts`: the record that runs alone because owners keep dying, and how often it was
  started without an end (H11).

A mark belongs to the position that it was committed with; one that says another, or that cannot be
read, counts as none: what it would have spared runs again, and is caught as a duplicate where that
shows. Kafka's metadata is text of at most 4,096 bytes (`offset.metadata.max.bytes`); a longer one
aborts the transaction (H10), so what does not fit is left out by whoever makes it (`fits`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

MARK_BYTES_MAX: Final = 4_096
VERSION: Final = 1

_CLEAN: Final = 1
_NUMBER_MAX: Final = (1 << 63) - 1
_RUNS_BYTES_MAX: Final = MARK_BYTES_MAX // 4 * 3 - 64
"""What base64 leaves for the runs, less the fields before them (at most six varints)."""

Interval = tuple[int, int]
"""(start, stop): positions with start ≤ position < stop."""


class Mark(msgspec.Struct, frozen=True):
    """A committed position, and what is to be known with it."""

    position: int
    finished: tuple[Interval, ...] = ()
    """Beyond the position, in order, apart from each other. They may cover invisible positions."""
    clean: bool = True
    takeovers: int = 0
    """Owners in a row that died without moving the position."""
    suspect: int | None = None
    """Position of the record that runs alone."""
    starts: int = 0
    """How often it was started without an end."""

    def encode(self) -> str:
        """The metadata text. Raises `ValueError` if the intervals do not fit, and for numbers that
        no position is.
        """
        body = bytearray((VERSION,))
        _put(body, _CLEAN if self.clean else 0)
        _put(body, self.position)
        _put(body, self.takeovers)
        _put(body, 0 if self.suspect is None else self.suspect + 1)
        _put(body, self.starts)
        runs = _runs(self.position, self.finished)
        if len(runs) > _RUNS_BYTES_MAX:
            raise ValueError(f"{len(self.finished)} intervals take {len(runs)} bytes")
        return base64.b64encode(bytes(body) + runs).decode()

    @classmethod
    def decode(cls, position: int, text: str) -> Mark:
        """The mark that was committed with this position; a fresh one if the text is not that."""
        try:
            body = base64.b64decode(text, validate=True)
            if not body or body[0] != VERSION:
                return cls(position)
            numbers = _numbers(body, 1)
            flags, own, takeovers, suspect, starts = numbers[:5]
            if own != position or flags > _CLEAN:
                return cls(position)
            mark = cls(
                position,
                tuple(_intervals(position, numbers[5:])),
                bool(flags & _CLEAN),
                takeovers,
                suspect - 1 if suspect else None,
                starts,
            )
            # Only what we could have written: the next commit must be able to carry it on.
            return mark if mark.encode() == text else cls(position)
        except (ValueError, binascii.Error):
            return cls(position)


def fits(position: int, finished: Iterable[Interval]) -> bool:
    """Whether these intervals beyond this position fit into a mark."""
    return len(_runs(position, finished)) <= _RUNS_BYTES_MAX


def merged(intervals: Iterable[Interval]) -> list[Interval]:
    """Intervals in order, those that touch joined. Give them sorted by their start."""
    found: list[Interval] = []
    for start, stop in intervals:
        if found and start <= found[-1][1]:
            if stop > found[-1][1]:
                found[-1] = (found[-1][0], stop)
        else:
            found.append((start, stop))
    return found


def _runs(position: int, finished: Iterable[Interval]) -> bytes:
    """Gaps and lengths alternating, from the position on; both are at least 1."""
    body = bytearray()
    at = position
    for start, stop in finished:
        _put(body, start - at)
        _put(body, stop - start)
        at = stop
    return bytes(body)


def _intervals(position: int, runs: Sequence[int]) -> list[Interval]:
    if len(runs) % 2 or 0 in runs:
        raise ValueError("not runs")
    found = []
    for gap, length in zip(runs[::2], runs[1::2], strict=True):
        start = position + gap
        position = start + length
        found.append((start, position))
    return found


def _put(body: bytearray, number: int) -> None:
    """Append an unsigned LEB128 varint."""
    if not 0 <= number <= _NUMBER_MAX:
        raise ValueError(f"{number} is no number of a mark")
    while number > 0x7F:
        body.append(number & 0x7F | 0x80)
        number >>= 7
    body.append(number)


def _numbers(body: bytes, at: int) -> list[int]:
    numbers = []
    number = shift = 0
    for byte in body[at:]:
        number |= (byte & 0x7F) << shift
        if byte & 0x80:
            shift += 7
        else:
            numbers.append(number)
            number = shift = 0
    if shift:
        raise ValueError("ends within a number")
    return numbers
