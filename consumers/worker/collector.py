"""The garbage collector, set for a worker's process.

What a worker makes of a record dies by reference count when the record is committed. Until then it
is there: a score of objects for each record in flight, which the collector would look at again and
again without finding anything, with Python's own threshold of 700. So it looks once more objects
have come than may be in flight; what handlers leave in cycles waits as long, a few tens of
megabytes at most.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Final

OBJECTS_PER_RECORD: Final = 20
"""Objects that the collector knows of, for each record in flight."""


@contextlib.contextmanager
def seldom_collecting(in_flight_max: int) -> Iterator[None]:
    """Within it, collect garbage as a worker with so many records in flight should.

    What exists at the beginning is taken to live on, and is not looked at any more.
    """
    young, *older = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(max(young, OBJECTS_PER_RECORD * in_flight_max), *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)
        gc.unfreeze()
