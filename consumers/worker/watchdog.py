"""The watchdog: ends the process when a step of another thread does not end (H6).

Client calls may ignore their own bounds. The process then holds partitions that it can do nothing
for, and only its end gives them to others. The watchdog is a thread of its own, for whatever runs
on the event loop may block that. It counts looks instead of reading a clock: a process that was
stopped (SIGSTOP, a sleeping machine) finds little time gone by when it goes on, and bites nobody.
What holds the interpreter's lock all the time stops it too.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

LOOKS: Final = 4
"""In so many looks, over the whole bound, a step must have been seen to end."""
WATCHDOG_EXIT: Final = 70
"""Exit code of a process that it ended (EX_SOFTWARE)."""


class Watchdog:
    """Watches the steps of one thread, each for `step_s_max`, and a quarter more at most.

    `what` names what consists of these steps.
    """

    def __init__(
        self, what: str, step_s_max: float, give_up: Callable[[int], Any] = os._exit
    ) -> None:
        self._what = what
        self._step_s_max = step_s_max
        self._give_up = give_up
        self._step = 0
        self._at_work = False
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="agentlog-watchdog", daemon=True)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """The calling thread is at work, beginning with a first step."""
        if self._thread.ident is None:
            self._thread.start()
        self.step()
        self._at_work = True
        try:
            yield
        finally:
            self._at_work = False

    def step(self) -> None:
        """A step begins; the one before has ended."""
        self._step += 1

    def close(self) -> None:
        """Look no more."""
        self._closed.set()

    def _watch(self) -> None:
        seen, looks = self._step, 0
        while not self._closed.wait(self._step_s_max / LOOKS):
            same = self._at_work and self._step == seen
            seen, looks = self._step, looks + 1 if same else 0
            if looks >= LOOKS:
                self._bite()
                return

    def _bite(self) -> None:
        """Say what happened and where every thread stands, and give up."""
        sys.stderr.write(
            f"agentlog: a step of {self._what} did not end within {self._step_s_max:g} s; ending "
            "this worker so that its group can go on (H6)\n"
        )
        sys.stderr.flush()
        with contextlib.suppress(OSError, ValueError):  # it is no file
            faulthandler.dump_traceback()
        self._give_up(WATCHDOG_EXIT)
