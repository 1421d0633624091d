"""Who uses a broker right now: a lock that all of them share, and the last one turns off the light.

The system drops a user's share of the lock when it dies, so that nobody is counted for ever.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def counted(folder: Path, when_last: Callable[[], object]) -> Iterator[None]:
    """Be a user of the broker in `folder` for the block; call `when_last` if none is left then."""
    folder.mkdir(parents=True, exist_ok=True)
    users = folder / "users.lock"
    try:
        with users.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            yield
    finally:
        with users.open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # somebody else still uses it, and will be the last
            else:
                when_last()
