"""Where the time of a run goes: cProfile's view of the thread that runs it, summed by module.

The worker's event loop is that thread; its consumer and its commits have threads of their own,
which only show as time in which the loop had to wait for the interpreter. cProfile makes every
Python call dearer, and calls into C hardly: it says where to look, not what is to be gained.
"""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

MODULES_MAX: Final = 15
FUNCTIONS_MAX: Final = 15

_C: Final = "~"
"""What cProfile calls the file of what is not Python."""
_WAITS: Final = ("epoll", "acquire")
_ROOT: Final = Path(__file__).parent.parent


def profiled(name: str, run: Callable[[], float]) -> str:
    """Run it, and say where the time went."""
    profile = cProfile.Profile()
    rate = profile.runcall(run)
    stats: dict[tuple[str, int, str], tuple[Any, ...]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    by_module: Counter[str] = Counter()
    by_function: Counter[str] = Counter()
    waited_s = 0.0
    for (file, line, function), (_, calls, own_s, *_) in stats.items():
        if file == _C and any(one in function for one in _WAITS):
            waited_s += own_s
            continue
        module = "C functions" if file == _C else _module(Path(file))
        by_module[module] += own_s
        place = function if file == _C else f"{module}:{line} {function}"
        by_function[f"{place} ({calls:,} calls)"] += own_s
    busy_s = sum(by_module.values())
    return "\n".join(
        [
            f"{name}: {rate:,.0f} records/s while profiled; busy {busy_s:.2f} s, waited "
            f"{waited_s:.2f} s",
            *_shares(by_module.most_common(MODULES_MAX), busy_s),
            "",
            *_shares(by_function.most_common(FUNCTIONS_MAX), busy_s),
        ]
    )


def _module(path: Path) -> str:
    return str(path.relative_to(_ROOT) if path.is_relative_to(_ROOT) else Path(*path.parts[-2:]))


def _shares(found: Sequence[tuple[str, float]], busy_s: float) -> list[str]:
    return [f"{own_s / busy_s:6.1%} {own_s:7.3f} s  {name}" for name, own_s in found]
