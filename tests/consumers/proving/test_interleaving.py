"""Orders that chance draws keep everything, and a seed draws them again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from consumers.proving.interleaving import (
    OPEN_MAX,
    interleaved,
    merge_orders,
    pieces,
    resume_positions,
)
from streams.record import Partition, Record

RNGS = st.randoms(use_true_random=False)
HISTORIES = st.lists(st.integers(0, 30), max_size=9)
"""How many records each partition has."""


def records(source: Partition, count: int) -> list[Record]:
    return [Record(source.topic, source.index, n, 0, None, None) for n in range(count)]


@given(HISTORIES, RNGS)
def test_partitions_are_interleaved_each_in_its_own_order(
    counts: list[int], rng: random.Random
) -> None:
    """Nothing is left out, nothing comes twice, each ends once, and few are read side by side."""
    sources = {Partition("t", index): count for index, count in enumerate(counts)}
    open_now: set[Partition] = set()

    def read(source: Partition) -> Iterator[Sequence[Record]]:
        open_now.add(source)
        assert len(open_now) <= OPEN_MAX
        yield from [records(source, sources[source])] if sources[source] else []

    seen: dict[Partition, list[int]] = {source: [] for source in sources}
    ended = []
    for source, piece in interleaved(list(sources), read, rng):
        seen[source] += [record.position for record in piece]
        if not piece:
            ended.append(source)
            open_now.remove(source)
    assert seen == {source: list(range(count)) for source, count in sources.items()}
    assert sorted(ended) == sorted(sources)


@given(st.lists(st.integers(1, 40), max_size=5), RNGS)
def test_pieces_are_the_batches_in_other_sizes(sizes: list[int], rng: random.Random) -> None:
    """The same records in the same order, and no piece is empty."""
    batches = [records(Partition("t", n), size) for n, size in enumerate(sizes)]
    found = list(pieces(iter(batches), rng))
    assert all(found)
    assert [one for piece in found for one in piece] == [one for batch in batches for one in batch]


@given(st.integers(0, 12), RNGS)
def test_every_order_of_merging_takes_each_part_once(parts: int, rng: random.Random) -> None:
    """With one or two initial states; the first order is from the left."""
    orders = merge_orders(parts, rng)
    for order in orders:
        initial = len(order) + 1 - parts
        assert initial in {1, 2}
        pool = [f"i{n}" for n in range(initial)] + [str(n) for n in range(parts)]
        whole = sorted(pool)
        for first, second in order:
            one, other = pool[first], pool[second]
            for taken in sorted((first, second), reverse=True):
                pool.pop(taken)
            pool.append(f"{one} {other}")
        assert sorted(pool[0].split()) == whole
        assert len(pool) == 1
        if order is orders[0]:
            assert pool[0].split() == ["i0", *map(str, range(parts))]


@given(st.integers(0, 2**32), st.integers(1, 12))
def test_a_seed_draws_the_same_again(seed: int, parts: int) -> None:
    """A proof that failed is tried again as it was."""
    ends = {Partition("t", n): 10 * n for n in range(parts)}
    one, other = random.Random(seed), random.Random(seed)
    assert resume_positions(ends, 3, one) == resume_positions(ends, 3, other)
    assert merge_orders(parts, one) == merge_orders(parts, other)
