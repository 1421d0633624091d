"""The first record after which two folds differ is found, wherever it is."""

from __future__ import annotations

from collections.abc import Sequence

import cbor2
from hypothesis import given
from hypothesis import strategies as st

from consumers.proving.divergence import LOOKS, Divergence, first_divergence
from consumers.proving.folding import Prefix
from streams.digest import digest
from streams.record import Partition

SOURCE = Partition("t", 0)


class Counting:
    """A fold that counts; from a position on it counts otherwise. It knows what it has read."""

    def __init__(self, odd_from: int | None = None, *, only_from_the_start: bool = False) -> None:
        self.odd_from = odd_from
        self.only_from_the_start = only_from_the_start
        self.read = 0

    def __call__(
        self, source: Partition, begin: Prefix | None, positions: Sequence[int]
    ) -> list[Prefix]:
        assert source == SOURCE
        at, count = (begin.position, cbor2.loads(begin.stored)["n"]) if begin else (0, 0)
        self.read += positions[-1] - at
        found = []
        for position in positions:
            while at < position:
                odd = self.odd_from is not None and at >= self.odd_from
                count += 2 if odd and not (begin and self.only_from_the_start) else 1
                at += 1
            state = {"n": count}
            found.append(Prefix(position, digest(state), cbor2.dumps(state)))
        return found


@given(st.data(), st.integers(1, 5_000))
def test_the_record_is_found_and_little_is_read_for_it(data: st.DataObject, end: int) -> None:
    """By one position; all rounds after the first read a fraction of what it read."""
    odd = data.draw(st.integers(0, end - 1))
    straight, bent = Counting(), Counting(odd)
    found = first_divergence(straight, bent, SOURCE, end)
    assert found is not None
    assert (found.after, found.before, found.is_initial) == (odd, odd + 1, False)
    assert (found.differences[0].path, found.differences[0].one) == ("n", str(odd + 1))
    assert bent.read <= end + end // (LOOKS - 1) + 20 * LOOKS


@given(st.integers(0, 1_000))
def test_folds_that_agree_have_no_divergence(end: int) -> None:
    """Not even an empty one."""
    assert first_divergence(Counting(), Counting(), SOURCE, end) is None


def test_what_does_not_show_again_is_told_as_far_as_it_was_seen() -> None:
    """A fold that is odd only if it began at the first record: between two positions."""
    found = first_divergence(Counting(), Counting(500, only_from_the_start=True), SOURCE, 800)
    assert isinstance(found, Divergence)
    assert (found.after, found.before) == (500, 600)


def test_folds_that_fail_alike_do_not_differ() -> None:
    """The failure is told elsewhere; it is no difference."""

    def fails(source: Partition, begin: Prefix | None, positions: Sequence[int]) -> list[Prefix]:
        return [Prefix(positions[0], "KeyError: 'x'", b"")]

    assert first_divergence(fails, fails, SOURCE, 10) is None
    found = first_divergence(Counting(), fails, SOURCE, 10)
    assert found is not None
    assert found.differences[0].other == repr("KeyError: 'x'")
