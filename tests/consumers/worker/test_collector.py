"""The collector, set for a worker's process."""

from __future__ import annotations

import gc

from consumers.worker.collector import OBJECTS_PER_RECORD, seldom_collecting


def test_it_looks_when_more_has_come_than_may_be_in_flight() -> None:
    """And afterwards as before."""
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with seldom_collecting(10_000):
        assert gc.get_threshold() == (10_000 * OBJECTS_PER_RECORD, *before[1:])
        assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0


def test_it_never_looks_more_often_than_python_does() -> None:
    """A worker that holds few records."""
    before = gc.get_threshold()
    with seldom_collecting(1):
        assert gc.get_threshold() == before
