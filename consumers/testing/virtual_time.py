"""Virtual time: an event loop on which waiting costs nothing.

    @virtual_time
    async def test_an_hour_passes() -> None:
        await asyncio.sleep(3600)      # returns at once; loop.time() is 3600 later

The loop's clock stands still while anything can run. When nothing can, it jumps to the next timer,
so timers fire in their order and at their exact times, and a run depends on nothing but what is
in it. Where there is neither, nothing could ever happen again: `Stuck` says who waits for what.

The outside world keeps its own time: while a thread of the loop's executors works, or a socket or
a child process is open, time passes as it really does, and no test should count on moments.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

from streams.errors import AgentlogError
from streams.memory.clock import EPOCH_US

VIRTUAL_S_MAX: Final = 6 * 3600.0
"""Virtual seconds after which a run counts as stuck: something ticks, and nothing comes of it."""
WAITING_SHOWN_MAX: Final = 10
"""Tasks that `Stuck` names."""

P = ParamSpec("P")
T = TypeVar("T")


class Stuck(AgentlogError):
    """Nothing on the loop can ever go on, or only timers do; the message says who waits where."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """See the module. `time()` begins at 0."""

    def __init__(self, *, virtual_s_max: float = VIRTUAL_S_MAX) -> None:
        self._virtual_s_max = virtual_s_max
        self._jumps = _JumpingSelector(self._check)
        super().__init__(self._jumps)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumps.now_s

    def run_in_executor(  # type: ignore[override]  # typeshed returns a Future of a TypeVarTuple
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """As on any loop; while it works, time passes as it really does."""
        working: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._jumps.threads += 1
        working.add_done_callback(self._thread_done)
        return working

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        """As on any loop, which does it from another thread."""
        self._jumps.threads += 1
        try:
            await super().shutdown_default_executor(*args, **kwargs)
        finally:
            self._jumps.threads -= 1

    def _thread_done(self, _future: asyncio.Future[Any]) -> None:
        self._jumps.threads -= 1

    def _check(self, timeout_s: float | None) -> None:
        """Raise `Stuck` if waiting this long leads nowhere."""
        if timeout_s is None:
            raise Stuck(f"nothing can run and no timer is set; {_waiting(self)}")
        if self._jumps.now_s + timeout_s > self._virtual_s_max:
            raise Stuck(
                f"{self._virtual_s_max:g} s of virtual time have passed and it has not ended; "
                f"{_waiting(self)}"
            )


class _JumpingSelector(selectors.DefaultSelector):
    """Waits by moving its clock, unless something outside of the loop may come first."""

    def __init__(self, check: Callable[[float | None], None]) -> None:
        super().__init__()
        self.now_s = 0.0
        self.threads = 0
        self._check = check

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready; if nothing is, the clock moves on by `timeout`."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._outside_works:
            began_s = time.monotonic()
            ready = super().select(timeout)
            passed_s = time.monotonic() - began_s
            self.now_s += passed_s if timeout is None else min(passed_s, timeout)
            return ready
        self._check(timeout)
        self.now_s += timeout or 0.0
        return ready

    @property
    def _outside_works(self) -> bool:
        return self.threads > 0 or len(self.get_map()) > 1  # one is the loop's own wake-up


class LoopClock:
    """A `Clock` that shows the running loop's time: virtual, or, on any other loop, the real one.

    Virtual time begins at 2026-01-01T00:00:00Z unless told otherwise.
    """

    def __init__(self, epoch_us: int = EPOCH_US) -> None:
        self._epoch_us = epoch_us

    def now_us(self) -> int:
        """UTC microseconds since the epoch."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualTimeLoop):
            return self._epoch_us + round(loop.time() * 1_000_000)
        return time.time_ns() // 1000


def run(main: Coroutine[Any, Any, T], *, virtual_s_max: float = VIRTUAL_S_MAX) -> T:
    """`asyncio.run` in virtual time. Raises `Stuck` where the real one would wait for ever."""
    factory = functools.partial(VirtualTimeLoop, virtual_s_max=virtual_s_max)
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def virtual_time(test: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make an async function a plain one that runs in virtual time; a decorator for tests."""

    @functools.wraps(test)
    def runs(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(test(*args, **kwargs))

    return runs


def _waiting(loop: asyncio.AbstractEventLoop) -> str:
    """Who waits, and where, for people."""
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    shown = [_place(task) for task in tasks[:WAITING_SHOWN_MAX]]
    if len(tasks) > len(shown):
        shown.append(f"{len(tasks) - len(shown)} more")
    return f"waiting: {'; '.join(shown) or 'no task'}"


def _place(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    if not stack:
        return task.get_name()
    code = stack[-1].f_code
    return f"{task.get_name()} at {Path(code.co_filename).name}:{stack[-1].f_lineno} {code.co_name}"
