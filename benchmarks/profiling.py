"""Where the time of a run goes: cProfile's view of the thread that runs it, summed by module.

The worker's event loop is that thread; its consumer and its commits have threads of their own,
which only show as time in which the loop had to wait for the interpreter. cProfile makes every
Python call dearer, and calls into C hardly: it says where to look, not what is to be gained.
"""

from __future__ import annotations

import cProfile
import pstats
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

MODULES_MAX: Final = 25
FUNCTIONS_MAX: Final = 25

_ROOT: Final = Path(__file__).parent.parent


def profiled(name: str, run: Callable[[], float]) -> str:
    """Run it, and say where the time went."""
    profile = cProfile.Profile()
    rate = profile.runcall(run)
    stats: dict[tuple[str, int, str], tuple[Any, ...]] = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    own: Counter[str] = Counter()
    by_function: Counter[str] = Counter()
    for (file, line, function), (_, calls, own_s, *_) in stats.items():
        module = _module(file, function)
        own[module] += own_s
        by_function[f"{module}:{line} {function} ({calls:,} calls)"] += own_s
    total_s = sum(own.values())
    waited_s = own.pop(_WAITING, 0.0)
    lines = [
        f"{name}: {rate:,.0f} records/s while profiled; {total_s:.2f} s, of which the loop waited "
        f"{waited_s:.2f} s",
        *(_share(*one, total_s - waited_s) for one in own.most_common(MODULES_MAX)),
        "",
        *(_share(*one, total_s - waited_s) for one in by_function.most_common(FUNCTIONS_MAX)),
    ]
    return "\n".join(lines)


_WAITING: Final = "waiting"


def _module(file: str, function: str) -> str:
    if file == "~":
        return _WAITING if "epoll" in function or "acquire" in function else f"C {function}"
    path = Path(file)
    if path.is_relative_to(_ROOT):
        return str(path.relative_to(_ROOT))
    return "/".join(path.parts[-2:])


def _share(name: str, own_s: float, total_s: float) -> str:
    return f"{own_s / total_s:6.1%} {own_s:7.3f} s  {name}"
