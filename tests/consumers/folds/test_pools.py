"""Ranges side by side: told how far they are, and ended when one of them fails; in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from consumers.folds.passed import Passed, Stopped
from consumers.folds.pools import fold_in_threads, fold_in_turn
from consumers.folds.range_fold import RangeFold
from consumers.folds.ranges import Range
from consumers.projections import EVERYTHING, AgentState
from streams.errors import AgentlogError
from streams.record import Partition, Record
from streams.topics import TASKS
from tests.consumers.folds.stopping import NAMESPACE, StoppingReader, filled
from tests.consumers.projections.strategies import CODEC

TOPIC = NAMESPACE.topic(TASKS)
RANGES = [Range(Partition(TOPIC, index), 0, 50) for index in (0, 1)]


def test_what_is_passed_is_counted_until_somebody_stops_it() -> None:
    """By whoever counts; from then on nobody goes on."""
    passed = Passed()
    passed.add(3)
    passed.add(4)
    assert passed.positions == 7
    passed.stop()
    with pytest.raises(Stopped):
        passed.add(1)


@pytest.mark.parametrize("many", [None, 1, 2, 5])
def test_every_way_tells_how_far_it_is(many: int | None) -> None:
    """From nothing to everything, and never backwards."""
    reader = StoppingReader(filled())
    fold = RangeFold(AgentState(), NAMESPACE, EVERYTHING, False, None)
    told: list[tuple[int, int]] = []

    def tell(passed: int, total: int) -> None:
        told.append((passed, total))

    if many is None:
        folded = list(fold_in_turn(fold, RANGES, reader, CODEC, tell))
    else:
        folded = list(fold_in_threads(fold, RANGES, many, reader, CODEC, tell))
    assert sum(part.tally.records for part in folded) == 100
    assert (told[0], told[-1]) == ((0, 100), (100, 100))
    assert told == sorted(told)


class EndlessReader(StoppingReader):
    """One partition never ends; the other waits until that has begun."""

    begun = threading.Event()

    def read(self, source: Partition, start: int, end: int) -> Iterator[Sequence[Record]]:
        if source.index == 0:
            while True:
                for batch in super().read(source, start, end):
                    yield batch
                    self.begun.set()
        assert self.begun.wait(60)
        yield from super().read(source, start, end)


class FailsOnOne(AgentState, frozen=True):
    """On one partition."""

    def apply(self, state: Any, record: Record, envelope: Any) -> Any:
        if record.partition == 1:
            raise ZeroDivisionError("oh")
        return super().apply(state, record, envelope)


def test_when_one_fails_the_others_end_at_their_next_batch() -> None:
    """Nobody waits for states that are of no use."""
    reader = EndlessReader(filled())
    fold = RangeFold(FailsOnOne(), NAMESPACE, EVERYTHING, False, None)
    with pytest.raises(AgentlogError, match=r"tasks\[1\]@0: ZeroDivisionError: oh"):
        list(fold_in_threads(fold, RANGES, 2, reader, CODEC, lambda *_: None))


def test_whoever_wants_no_more_ends_them_too() -> None:
    """A Ctrl-C while states are merged."""
    reader = EndlessReader(filled())
    fold = RangeFold(AgentState(), NAMESPACE, EVERYTHING, False, None)
    folding = fold_in_threads(fold, RANGES, 2, reader, CODEC, lambda *_: None)
    assert next(folding).tally.records == 50
    folding.close()  # type: ignore[attr-defined]  # a generator
