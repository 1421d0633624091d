"""The window bounds what is in flight, with hysteresis."""

from __future__ import annotations

import pytest

from consumers.window import CLIENT_QUEUE_BYTES, Window

MB = 1024 * 1024


def test_the_count_is_never_exceeded() -> None:
    """The room is what is left of the bound."""
    window = Window(100, 64 * MB)
    assert window.room() == 100
    window.take(60, 600)
    assert window.room() == 40
    window.take(40, 400)
    assert window.room() == 0
    assert (window.count, window.size) == (100, 1000)


def test_it_opens_again_at_half() -> None:
    """Closed at the high mark, it stays closed until half is free."""
    window = Window(100, 64 * MB)
    window.take(100, 1000)
    assert window.room() == 0
    window.release(49, 490)
    assert window.room() == 0
    window.release(1, 10)
    assert window.room() == 50


def test_bytes_close_it_too_and_batches_shrink_towards_the_mark() -> None:
    """The client's queue is part of the bound; the room is sized by the mean record."""
    window = Window(1_000_000, 32 * MB)
    window.take(15, 15 * MB)
    assert window.room() == 1
    window.take(1, MB)
    assert window.room() == 0
    window.release(8, 8 * MB)
    assert window.room() == 8


def test_bounds_that_cannot_work_are_refused() -> None:
    """Nothing would ever fit, or the client's own queue would already exceed it."""
    with pytest.raises(ValueError, match="in_flight_max"):
        Window(0, 64 * MB)
    with pytest.raises(ValueError, match="in_flight_bytes_max"):
        Window(1, CLIENT_QUEUE_BYTES)
