"""A process that folds for another: it is the other's to stop, and does not outlive it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from typing import Final

COLLECT_EVERY: Final = 200_000
"""Objects made between two runs of the cyclic garbage collector while folding."""


def belong_to_parent() -> None:
    """Once, at the beginning of such a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which stops us
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.set_threshold(COLLECT_EVERY)


def _end_with_parent() -> None:
    """A pool's process waits for work for ever, even when its parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
