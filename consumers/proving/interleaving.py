"""Orders that chance draws: of partitions, of batches, of merges. Pure: a seed gives all of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from streams.record import Partition, Record

OPEN_MAX: Final = 2
"""Partitions that are read side by side; each holds one reader's fetch queue (128 MiB at most), in
this process and in the other."""
MERGE_ORDERS: Final = 6
"""Orders of merging that a proof tries, beside the plain one and its reverse."""

Pieces = Iterator[Sequence[Record]]
MergeOrder = tuple[tuple[int, int], ...]
"""Steps of merging a row of states: take out the i-th and the j-th, put merge(i-th, j-th) at the
end. One less than there are states."""


def interleaved(
    sources: Sequence[Partition],
    read: Callable[[Partition], Pieces],
    rng: random.Random,
) -> Iterator[tuple[Partition, Sequence[Record]]]:
    """Pieces of partitions, a few partitions side by side, each in its own order; an empty piece
    says that its partition has ended.
    """
    waiting = sorted(sources)
    rng.shuffle(waiting)
    running: list[tuple[Partition, Pieces]] = []
    while waiting or running:
        while waiting and len(running) < OPEN_MAX:
            source = waiting.pop()
            running.append((source, pieces(read(source), rng)))
        chosen = running[rng.randrange(len(running))]
        piece = next(chosen[1], ())
        yield chosen[0], piece
        if not piece:
            running.remove(chosen)


def pieces(batches: Pieces, rng: random.Random) -> Pieces:
    """The same records in other batches: from one record to the whole batch, any size alike."""
    for batch in batches:
        done = 0
        while done < len(batch):
            size = int(len(batch) ** rng.random()) or 1
            yield batch[done : done + size]
            done += size


def resume_positions(
    ends: Mapping[Partition, int], each: int, rng: random.Random
) -> dict[Partition, list[int]]:
    """Positions of every partition at which a fold stops, is stored, and goes on; ascending."""
    return {
        source: sorted(rng.randrange(max(end, 1)) for _ in range(each))
        for source, end in sorted(ends.items())
    }


def merge_orders(parts: int, rng: random.Random) -> list[MergeOrder]:
    """Orders to merge so many parts in, with one `initial()` in front of them, or two; the first is
    the plain one, from the left.
    """
    plain = tuple((n, 0) if n < parts else (0, 1) for n in range(parts, 0, -1))
    backward = tuple((n, n - 1) for n in range(parts + 1, 0, -1))
    drawn = [
        tuple(_two(n + 1, rng) for n in range(parts + rng.randrange(2), 0, -1))
        for _ in range(MERGE_ORDERS)
    ]
    return [plain, backward, *drawn]


def _two(parts: int, rng: random.Random) -> tuple[int, int]:
    one, other = rng.sample(range(parts), 2)
    return one, other
