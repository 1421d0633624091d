"""Run-length sets of positions: `[first, length, gap, length, gap, length, …]`.

The first number is the lowest position, then lengths of runs alternate with the gaps before the
next run: {5, 6, 7, 10} is `[5, 3, 2, 1]`. The empty set is `[]`. Lengths and gaps are at least 1,
so a set has exactly one form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def encode_runs(positions: Iterable[int]) -> list[int]:
    """The set of these positions. Raises `ValueError` unless they strictly increase."""
    runs: list[int] = []
    end = -1
    for position in positions:
        if not runs:
            runs = [position, 1]
        elif position == end:
            runs[-1] += 1
        elif position > end:
            runs += (position - end, 1)
        else:
            raise ValueError(f"position {position} does not come after {end - 1}")
        end = position + 1
    return runs


def decode_runs(runs: Sequence[int]) -> Iterator[range]:
    """The runs as ranges, in order. Raises `ValueError` for what `encode_runs` never writes."""
    if len(runs) % 2:
        raise ValueError(f"{len(runs)} numbers do not make runs")
    position = 0
    for index in range(0, len(runs), 2):
        skip, length = runs[index], runs[index + 1]
        if length < 1 or skip < (1 if index else 0):
            raise ValueError(f"run {skip}, {length} is not in canonical form")
        position += skip
        yield range(position, position + length)
        position += length
