"""Kept states: what a replay has folded so far, on disk, so that a killed one goes on from there.

    <folder of all replays>/<identity>/<topic>-<partition>-<position>.state

A file holds the state of one partition's records below its position. It is written beside and
renamed, and begins with the digest of the rest: a file is whole, or it is passed over with a
warning. `identity` (see there) is of all that the state depends on, so what is found is what would
be folded. Nothing here makes a replay fail: what cannot be kept is folded again, that is all.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import cbor2

from consumers.folds.ranges import Range
from consumers.projections.partition_fold import Tally
from streams.record import Partition

KEEP_AFTER_S: Final = 5.0
"""Seconds before anything of a replay is kept: a short one keeps nothing."""
KEPT_DAYS_MAX: Final = 7
"""Days after which the states of a replay that nobody has gone on with are removed."""
GAVE_UP: Final = "no more of this replay can be kept"
"""How the warning begins that there is one of."""

_BESIDE: Final = ".new"
_MAGIC: Final = b"agentlog-kept\x01"
_DIGEST_LENGTH: Final = hashlib.sha256().digest_size
_DAY_S: Final = 86_400


class Kept(NamedTuple):
    """What the records of one partition below a position were folded to."""

    position: int
    state: Any
    tally: Tally


class Keeper:
    """The kept states of one replay. Goes to other processes; threads may share it."""

    def __init__(
        self, home: Path, identity: str, *, first_s: float = 0.0, readable: bool = True
    ) -> None:
        """`home` is the folder of all replays; before `first_s` (monotonic) nothing is kept.

        If not `readable`, what an earlier run left is not looked at.
        """
        self.folder = home / identity
        self.identity = identity
        self.first_s = first_s
        self._readable = readable
        self._gave_up = False
        self._warnings: deque[str] = deque()

    def farthest(self, span: Range) -> int:
        """Where a fold of this range can go on, by the files' names; its start if nowhere."""
        return max(self._positions(span), default=span.start)

    def load(self, span: Range) -> Kept | None:
        """The state to go on from, of the farthest position that a whole file has."""
        for position in sorted(self._positions(span), reverse=True):
            path = self._path(span.source, position)
            try:
                return self._read(path, span.source, position)
            except FileNotFoundError:  # another run of the same replay has just finished
                continue
            except Exception as error:  # noqa: BLE001  # damaged bytes fail in any way they like
                self._warn(f"{path} is passed over, and its records are folded again: {error}")
        return None

    def save(self, source: Partition, kept: Kept) -> float:
        """Keep a state. Returns the seconds that it took. After a failure nothing more is kept."""
        began_s = time.monotonic()
        if self._gave_up:
            return 0.0
        try:
            self._write(source, kept.position, self._encoded(source, kept))
        except OSError as error:
            self._give_up(f"{self.folder}: {error.strerror or error}")
        except Exception as error:  # noqa: BLE001  # a user's state: whatever CBOR says of it
            self._give_up(f"its state does not go into CBOR and back: {error}")
        return time.monotonic() - began_s

    def discard(self, ranges: Iterable[Range]) -> None:
        """Remove what is kept of these ranges: they are folded, or shall be folded anew."""
        for span in ranges:
            for position in self._positions(span, readable=True):
                with suppress(OSError):
                    self._path(span.source, position).unlink()
        with suppress(OSError):
            for path in self.folder.glob(f"*{_BESIDE}"):
                if _is_dead(int(path.name.split("-")[-2])):
                    path.unlink()
        with suppress(OSError):
            self.folder.rmdir()  # fails where another replay up to a later cut keeps its own

    def take_warnings(self) -> tuple[str, ...]:
        """What went wrong since this was asked last."""
        found = []
        with suppress(IndexError):
            while True:
                found.append(self._warnings.popleft())
        return tuple(found)

    def _path(self, source: Partition, position: int) -> Path:
        return self.folder / f"{source.topic}-{source.index}-{position}.state"

    def _positions(self, span: Range, *, readable: bool | None = None) -> list[int]:
        if not (self._readable if readable is None else readable):
            return []
        topic, index = span.source
        named = re.compile(rf"{re.escape(topic)}-{index}-(\d+)\.state")
        try:
            found = [named.fullmatch(path.name) for path in self.folder.iterdir()]
        except OSError:
            return []
        positions = [int(name[1]) for name in found if name]
        return [position for position in positions if span.start < position <= span.end]

    def _read(self, path: Path, source: Partition, position: int) -> Kept:
        raw = memoryview(path.read_bytes())
        header, body = raw[: len(_MAGIC) + _DIGEST_LENGTH], raw[len(_MAGIC) + _DIGEST_LENGTH :]
        if header != _MAGIC + hashlib.sha256(body).digest():
            raise ValueError("it is damaged")
        about, records, undecodable, first, state = cbor2.loads(body)
        if about != [self.identity, *source, position]:
            raise ValueError(f"it is of {about}")
        return Kept(position, cbor2.loads(state), Tally(records, undecodable, first))

    def _encoded(self, source: Partition, kept: Kept) -> bytes:
        state = cbor2.dumps(kept.state)
        if not _same(kept.state, cbor2.loads(state)):  # a fold may care for what only looks alike
            raise ValueError("something in it comes back as another type, as a tuple does")
        tally = kept.tally
        body = cbor2.dumps(
            [
                [self.identity, *source, kept.position],
                tally.records,
                tally.undecodable,
                tally.first_undecodable,
                state,
            ]
        )
        return _MAGIC + hashlib.sha256(body).digest() + body

    def _write(self, source: Partition, position: int, content: bytes) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(source, position)
        beside = path.with_name(f"{path.name}-{os.getpid()}-{threading.get_ident()}{_BESIDE}")
        try:
            beside.write_bytes(content)
            beside.replace(path)
        except OSError:
            with suppress(OSError):
                beside.unlink()
            raise
        for before in self._positions(Range(source, 0, position - 1), readable=True):
            with suppress(OSError):
                self._path(source, before).unlink()

    def _give_up(self, why: str) -> None:
        self._gave_up = True
        self._warn(
            f"{GAVE_UP} ({why}); it goes on, but if it is stopped, what it folds from here on has "
            "to be folded again"
        )

    def _warn(self, text: str) -> None:
        self._warnings.append(text)


def remove_old(home: Path, now_s: float) -> None:
    """Remove the states of replays that nobody has gone on with for `KEPT_DAYS_MAX` days.

    `now_s` is seconds since the epoch.
    """
    with suppress(OSError):
        for folder in home.iterdir():
            if now_s - folder.stat().st_mtime > KEPT_DAYS_MAX * _DAY_S:
                shutil.rmtree(folder, ignore_errors=True)


def _is_dead(pid: int) -> bool:
    """Whether who wrote a file was killed meanwhile; a pid that was given again says no."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _same(before: Any, after: Any) -> bool:
    """Whether two values are the same, types included."""
    if type(before) is not type(after):
        return False
    if isinstance(before, dict):
        return _same(list(before), list(after)) and _same([*before.values()], [*after.values()])
    if isinstance(before, (list, tuple)):
        return len(before) == len(after) and all(map(_same, before, after))
    return bool(before == after)
