"""A `StateTable` on disk (RocksDB), for partitions whose streams do not fit in memory.

    app = AggregateApp("ledger", accounts, make_states=rocks_states(Path("/var/lib/ledger")))

What is there is a cache of the log: each table begins empty in a folder of its own, which is
deleted when the partition is given up. What a process that was killed left is deleted by the next
one that uses the folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from consumers.aggregates.states import StateTable, StreamState
from streams.errors import ConfigurationError
from streams.record import Partition

_VERSION: Final = struct.Struct(">Q")
_PREFIX: Final = "states-"
_LOCK: Final = "in-use"


def rocks_states(folder: Path) -> Callable[[Partition], StateTable]:
    """Makes tables below a folder, for `AggregateApp(make_states=…)`.

    Raises `ConfigurationError` if it cannot be written to, or RocksDB is not installed.
    """
    try:
        import rocksdict  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            "states on disk need RocksDB: pip install 'agentlog[rocksdb]'"
        ) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _delete_abandoned(folder)
    except OSError as error:
        raise ConfigurationError(f"states cannot be kept in {folder}: {error.strerror}") from error
    return lambda source: RocksStates(folder, source)


class RocksStates:
    """The states of one partition's streams, below `folder`."""

    def __init__(self, folder: Path, source: Partition) -> None:
        from rocksdict import Options, Rdict, WriteOptions  # noqa: PLC0415 - an extra

        prefix = f"{_PREFIX}{source.topic}-{source.index}-"
        self._folder = Path(tempfile.mkdtemp(prefix=prefix, dir=folder))
        self._lock = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        options = Options(raw_mode=True)
        options.create_if_missing(True)
        self._db: Any = Rdict(str(self._folder / "db"), options)
        # It is made anew from the log after a crash: nothing has to survive one.
        writing: Any = WriteOptions()
        writing.disable_wal = True
        self._db.set_write_options(writing)
        self._is_open = True

    def get(self, stream_id: str) -> StreamState | None:
        """The stream's state; None if it has no events yet."""
        raw = self._db.get(stream_id.encode())
        if raw is None:
            return None
        (version,) = _VERSION.unpack_from(raw)
        return StreamState(version, raw[_VERSION.size :])

    def put(self, stream_id: str, state: StreamState) -> None:
        """The stream's state from now on."""
        self._db[stream_id.encode()] = _VERSION.pack(state.version) + state.state

    def items(self) -> Iterator[tuple[str, StreamState]]:
        """All streams, by id."""
        for key, raw in self._db.items():
            (version,) = _VERSION.unpack_from(raw)
            yield key.decode(), StreamState(version, raw[_VERSION.size :])

    def close(self) -> None:
        """Forget all of it."""
        if self._is_open:
            self._is_open = False
            self._db.close()
            os.close(self._lock)
            shutil.rmtree(self._folder, ignore_errors=True)


def _delete_abandoned(folder: Path) -> None:
    """Tables whose process is gone: nobody holds their lock."""
    for left in folder.glob(f"{_PREFIX}*"):
        try:
            lock = os.open(left / _LOCK, os.O_RDWR)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(lock)
