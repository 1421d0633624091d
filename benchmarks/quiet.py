"""Is anybody else using the machine? Asked before each run, while ours does nothing.

On a shared machine a run waits for a quiet moment, but not for ever; what it was like then is part
of the results.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

BUSY: Final = 0.15
"""Share of the processors' time that others may use in a moment that counts as quiet."""
WAIT_S_MAX: Final = 60.0
"""How long a run waits for such a moment before it starts anyway."""

_LOOK_S: Final = 0.5
_STAT: Final = Path("/proc/stat")


def wait_for_quiet() -> float | None:
    """Wait until others leave the machine alone; the share that they use then.

    None, at once, where the system does not say (no Linux).
    """
    if not _STAT.exists():
        return None
    give_up_at_s = time.monotonic() + WAIT_S_MAX
    while (share := _used_meanwhile()) > BUSY and time.monotonic() < give_up_at_s:
        pass
    return share


def _used_meanwhile() -> float:
    idle, total = _ticks()
    time.sleep(_LOOK_S)
    idle_after, total_after = _ticks()
    return 1 - (idle_after - idle) / max(total_after - total, 1)


def _ticks() -> tuple[int, int]:
    """Idle time and all time of all processors since the start, as proc_stat(5) has them."""
    ticks = [
        int(field) for field in _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    ]
    return ticks[3] + ticks[4], sum(ticks)
