"""Install a folder below the cache: whole, or not at all.

1. Under a file lock (one process installs, the others wait), clear what a killed run left behind.
2. Bring everything into `<name>.partial`; whoever brings it checks it against its lock.
3. Rename to its name. A crash before this line leaves only a `.partial` folder.

The installed folder is checked on every start: what rotted or was exchanged since makes the whole
folder go, and step 2 brings it again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from streams.brokers.embedded.disk import disk_errors, locked

Progress = Callable[[int, int], None]
"""`progress(done_bytes, total_bytes)`, called by the installing thread, from 0 on."""


def install_folder(
    target: Path, *, intact: Callable[[Path], bool], bring: Callable[[Path], Path]
) -> Path:
    """`target`, brought if it is not there or not intact.

    `bring(partial)` is given an empty folder and returns the folder in it that becomes `target`.
    Raises `BrokerError` for what the disk refuses, and whatever `bring` raises; nothing of a failed
    installation stays.
    """
    cache = target.parent
    with disk_errors(cache):
        if intact(target):
            return target
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / "install.lock"):
            if intact(target):
                return target
            shutil.rmtree(target, ignore_errors=True)
            partial = target.with_name(f"{target.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            try:
                partial.mkdir()
                bring(partial).replace(target)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return target


def silent(done_bytes: int, total_bytes: int) -> None:
    """Nobody watches."""
