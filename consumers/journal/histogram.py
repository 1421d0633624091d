"""Delivery times as an integer histogram that merges by addition.

Bucket i holds whole milliseconds: 0 to 7 have a bucket each, and from there every power of two is
cut into eight equal buckets, so that a bucket is never wider than an eighth of its lower bound
(error ≤ 12.5 %). Bounds depend on the index alone: histograms of any two writers add up.

    index   0 … 7   8 … 15   16    17    …  23    24    …
    from    0 … 7   8 … 15   16    18    …  30    32    …   ms
    to      0 … 7   8 … 15   17    19    …  31    35    …   ms, inclusive
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_SUB_BITS: Final = 3
_SUB: Final = 1 << _SUB_BITS
DELIVERY_MS_MAX: Final = (1 << 42) - 1
"""Longer ones (139 years) count as this."""


def bucket_of(delivery_ms: int) -> int:
    """The bucket of a delivery time; a negative one (clocks differ) counts as 0."""
    ms = min(max(delivery_ms, 0), DELIVERY_MS_MAX)
    if ms < _SUB:
        return ms
    shift = ms.bit_length() - _SUB_BITS - 1
    return (shift << _SUB_BITS) + (ms >> shift)


def bucket_bounds(index: int) -> tuple[int, int]:
    """First and last millisecond of a bucket."""
    if index < _SUB:
        return index, index
    shift = (index >> _SUB_BITS) - 1
    low = (_SUB + (index & (_SUB - 1))) << shift
    return low, low + (1 << shift) - 1


def quantile(counts: Mapping[int, int], fraction: float) -> int | None:
    """The last millisecond of the bucket that holds this fraction of all; None if empty.

    So `quantile(counts, 0.99)` is an upper bound of p99 that is at most 12.5 % too high.
    """
    total = sum(counts.values())
    if not total:
        return None
    wanted = fraction * total
    reached = 0
    for index in sorted(counts):
        reached += counts[index]
        if reached >= wanted:
            return bucket_bounds(index)[1]
    return bucket_bounds(max(counts))[1]
