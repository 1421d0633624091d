"""The disk below the embedded Kafka: where things live, who may write, what if it is full."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from streams.errors import BrokerError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def cache_home() -> Path:
    """Where the jars are installed: can be deleted at any time, and comes back."""
    return platformdirs.user_cache_path("agentlog")


def data_home() -> Path:
    """Where named brokers keep their logs: deleting it deletes history."""
    return platformdirs.user_data_path("agentlog") / "brokers"


def registries_home() -> Path:
    """Where named schema registries keep their data: deleting it deletes what was registered."""
    return platformdirs.user_data_path("agentlog") / "registries"


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what a disk refuses into a `BrokerError` that names the place and the way out."""
    try:
        yield
    except OSError as error:
        where = Path(error.filename) if isinstance(error.filename, str) else path
        if error.errno in _FULL:
            raise BrokerError(full_disk(where)) from error
        if error.errno in _FORBIDDEN:
            raise BrokerError(
                f"cannot write {where} ({os.strerror(error.errno)}): make it writable, or set "
                "XDG_CACHE_HOME and XDG_DATA_HOME to folders that are"
            ) from error
        raise BrokerError(f"cannot use {where}: {error.strerror or error}") from error


def full_disk(path: Path) -> str:
    """The sentence for a full disk, with what is left on it."""
    folder = next((p for p in (path, *path.parents) if p.is_dir()), Path("/"))
    free_mb = shutil.disk_usage(folder).free // 1_000_000
    return (
        f"the disk is full at {path} ({free_mb} MB free): make room and run again; nothing "
        "half-written is used"
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` as an exclusive lock between processes; waits for whoever has it.

    The system drops the lock when its holder dies, so that no lock is ever stale.
    """
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
