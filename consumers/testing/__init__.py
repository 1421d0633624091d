"""Testing: your apps' real workers on a log in memory, in virtual time. See docs/testing.md.

`consumers.testing.laws` generates the checks of a projection of your own (it needs hypothesis).
"""

from consumers.testing.stage import MemoryStage, NotIdle
from consumers.testing.virtual_time import LoopClock, Stuck, VirtualTimeLoop, run, virtual_time

__all__ = [
    "LoopClock",
    "MemoryStage",
    "NotIdle",
    "Stuck",
    "VirtualTimeLoop",
    "run",
    "virtual_time",
]
