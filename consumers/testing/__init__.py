"""Testing: run your app's real worker on a log in memory, in virtual time. See docs/testing.md."""

from consumers.testing.virtual_time import LoopClock, Stuck, run, virtual_time

__all__ = ["LoopClock", "Stuck", "run", "virtual_time"]
