"""`Source` on the log in memory: one task that follows its group and delivers records.

What `KafkaSource` does on a thread, in the same order: one thing at a time, so nothing is delivered
while partitions are given up or their positions are awaited. Heartbeats go on meanwhile. Back-
pressure is asked for by looking again, ever more rarely.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

import structlog

from consumers.marks import Mark
from consumers.window import Window
from consumers.worker.assignment import record_size
from consumers.worker.memory.pace import Call, Pace, at_once
from consumers.worker.ports import Assigned, Committed, SourceListener
from streams.errors import BrokerError
from streams.memory import CallFailed, CommittedPosition, Failure, GroupMetadata, MemoryLog
from streams.record import Partition, Record

BATCH_MAX: Final = 500
"""Records handed over at once."""
HEARTBEAT_S: Final = 1.0
ASK_AGAIN_S: Final = 0.1
COMMITTED_S_MAX: Final = 40.0
"""Longest wait for stable positions: an open transaction must have timed out by then (H5)."""
ROOM_POLL_S: Final = 0.005
ROOM_POLL_S_MAX: Final = 0.5
"""A closed window is looked at after the first, then half as often each time, down to this."""

_NO_MEMBER: Final = frozenset(
    {Failure.UNKNOWN_MEMBER_ID, Failure.STALE_MEMBER_EPOCH, Failure.FENCED_MEMBER_EPOCH}
)
_log: Final = structlog.get_logger("agentlog.worker.source")


class _Owned:
    """A partition while it is ours."""

    __slots__ = ("first", "metadata", "position", "token", "told")

    def __init__(self, token: int, metadata: GroupMetadata, first: int, told: int) -> None:
        self.token = token
        self.metadata = metadata
        self.first = first
        """What was read first."""
        self.position = first
        """What is read next."""
        self.told = told
        """How far the listener knows that we have read."""


class MemorySource:
    """`Source` over one member of a group on a `MemoryLog`. `group` and `topics` are full names."""

    def __init__(
        self,
        log: MemoryLog,
        group: str,
        topics: Sequence[str],
        window: Window,
        *,
        revoke_s_max: float,
        read_back: int = 0,
        pace: Pace = at_once,
    ) -> None:
        self._log = log
        self._group = group
        self._topics = tuple(topics)
        self._window = window
        self._revoke_s_max = revoke_s_max
        self._read_back = read_back
        self._pace = pace
        self._owned: dict[Partition, _Owned] = {}
        self._taking: frozenset[Partition] = frozenset()
        """What became ours and waits for its committed positions: nobody else may have it."""
        self._held: frozenset[Partition] = frozenset()
        self._commands: list[Callable[[], Awaitable[None]]] = []
        self._wake = asyncio.Event()
        self._stopping = False
        self._last_token = 0
        self._epoch = 0
        self._room_poll_s = ROOM_POLL_S
        self.member_id = ""
        """Empty until it has joined."""

    # --- the port ----------------------------------------------------------------------------

    def start(self, listener: SourceListener) -> None:
        """Join the group; `listener` is called on the running event loop."""
        self._listener = listener
        self._unwatch = self._log.watch(self._wake.set)
        self._task = asyncio.create_task(self._run(), name="memory-source")
        self._beating = asyncio.create_task(self._beat_on(), name="memory-heartbeat")

    def reload(self, sources: Sequence[Partition]) -> None:
        """Go back to the committed positions of these partitions."""
        wanted = tuple(sources)
        self._commands.append(lambda: self._reload(wanted))
        self._wake.set()

    def hold(self, sources: frozenset[Partition]) -> None:
        """Read these no further until told otherwise; all others are read."""
        self._held = sources
        self._wake.set()

    async def commit(self, marks: Mapping[int, Mark]) -> Committed:
        """Commit the positions of what is ours under these tokens, outside of any transaction."""
        await self._pace(Call.COMMIT_POSITIONS)
        ours = {one: marks[at.token] for one, at in self._owned.items() if at.token in marks}
        try:
            if ours:
                metadata = GroupMetadata(self._group, self.member_id, self._epoch)
                self._log.commit_positions(metadata, stored_positions(ours))
        except CallFailed as error:
            _log.warning("positions_not_committed", error=str(error))
            # No member any more: to say it all again would only repeat it.
            return Committed.UNKNOWN if error.failure in _NO_MEMBER else Committed.NO
        return Committed.YES

    async def stop(self) -> None:
        """Give up all partitions and leave the group."""
        self._stopping = True
        self._wake.set()
        await asyncio.wait({self._task})

    def crash(self) -> None:
        """Die without a word: the group finds out when the session times out. For simulations."""
        self._task.cancel()
        self._put_away()

    def repeat(self, count: int) -> None:
        """Read again the last positions of all that is ours, as a client may (H14).

        For simulations.
        """
        for owned in self._owned.values():
            owned.position = max(owned.first, owned.position - count)
        self._wake.set()

    # --- the task ----------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            self.member_id, answer = self._log.join(self._group, self._topics)
            self._epoch = answer.epoch
            while not self._stopping:
                self._wake.clear()
                await self._follow()
                while self._commands:
                    await self._commands.pop(0)()
                if self._deliver():
                    await asyncio.sleep(0)
                else:
                    await self._wait()
            await self._revoke(tuple(self._owned))
            self._log.leave(self._group, self.member_id)
        except Exception as error:  # noqa: BLE001 - the loop must hear of whatever ended us
            self._listener.on_source_failed(error)
        finally:
            self._put_away()

    def _put_away(self) -> None:
        self._beating.cancel()
        with contextlib.suppress(ValueError):  # already
            self._unwatch()

    async def _beat_on(self) -> None:
        """Stay a member whatever the task waits for; and let what is overdue time out."""
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            with contextlib.suppress(CallFailed):  # the task finds out by itself
                owned = {*self._owned, *self._taking}
                self._log.heartbeat(self._group, self.member_id, self._epoch, owned)
            self._log.tick()
            self._wake.set()

    async def _wait(self) -> None:
        if self._window.room():
            self._room_poll_s = ROOM_POLL_S
            await self._wake.wait()
        else:
            await asyncio.sleep(self._room_poll_s)
            self._room_poll_s = min(self._room_poll_s * 2, ROOM_POLL_S_MAX)

    # --- the group ---------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Give up what we should not own and take what we should, until nothing is left to do."""
        while not self._stopping:
            await self._pace(Call.HEARTBEAT)
            try:
                answer = self._log.heartbeat(self._group, self.member_id, self._epoch, self._owned)
            except CallFailed:
                self._lose(tuple(self._owned))
                self._epoch = self._log.rejoin(self._group, self.member_id, self._topics).epoch
                continue
            self._epoch = answer.epoch
            if gone := sorted(self._owned.keys() - answer.assigned):
                await self._revoke(gone)
            elif new := sorted(answer.assigned - self._owned.keys()):
                metadata = GroupMetadata(self._group, self.member_id, answer.epoch)
                await self._take(dict.fromkeys(new, metadata))
            else:
                return

    async def _take(self, wanted: Mapping[Partition, GroupMetadata]) -> None:
        """Begin with these, from their committed positions on, under new tokens."""
        self._taking = frozenset(wanted)
        stored = await self._committed(wanted)
        self._taking = frozenset()
        assigned = []
        for source, metadata in wanted.items() if stored is not None else ():
            known = stored.get(source) if stored else None
            first = self._log.start(source)
            position, mark = (known.position, known.metadata) if known else (first, "")
            self._last_token += 1
            begin = max(first, position - self._read_back)
            self._owned[source] = _Owned(self._last_token, metadata, begin, told=position)
            assigned.append(Assigned(self._last_token, source, position, mark, metadata))
        if assigned:
            self._listener.on_assigned(assigned)

    async def _reload(self, sources: Sequence[Partition]) -> None:
        await self._take({one: self._owned[one].metadata for one in sources if one in self._owned})

    async def _committed(
        self, sources: Collection[Partition]
    ) -> Mapping[Partition, CommittedPosition | None] | None:
        """Stable positions, awaited (H5); None if we are to stop meanwhile."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + COMMITTED_S_MAX
        while not self._stopping:
            await self._pace(Call.COMMITTED)
            try:
                return self._log.committed(self._group, sources)
            except CallFailed as error:
                if loop.time() > deadline:
                    raise BrokerError(f"no committed positions: {error}") from error
                _log.warning("no_committed_positions_yet", error=str(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_AGAIN_S):
                    self._wake.clear()
                    await self._wake.wait()
        return None

    async def _revoke(self, sources: Sequence[Partition]) -> None:
        if sources:
            settled = asyncio.Event()
            self._listener.on_revoking(sources, settled.set)
            try:
                async with asyncio.timeout(self._revoke_s_max):
                    await settled.wait()
            except TimeoutError:
                _log.warning("revoked_unsettled", partitions=[str(source) for source in sources])
        self._lose(sources)

    def _lose(self, sources: Sequence[Partition]) -> None:
        for source in sources:
            del self._owned[source]
        if sources:
            self._listener.on_lost(sources)

    # --- records -----------------------------------------------------------------------------

    def _deliver(self) -> bool:
        """Hand over what the window has room for; True if that was anything."""
        room = min(self._window.room(), BATCH_MAX)
        batches: list[tuple[int, Sequence[Record]]] = []
        for source, owned in tuple(self._owned.items()):
            if room <= 0:
                break
            if source not in self._held and (records := self._fetch(source, owned, room)):
                batches.append((owned.token, records))
                room -= len(records)
                self._owned[source] = self._owned.pop(source)  # the others first, next time
        if batches:
            sizes = [record_size(record) for _, records in batches for record in records]
            self._window.take(len(sizes), sum(sizes))
            self._listener.on_records(tuple(batches))
            return True
        self._tell_positions(self._owned.values())
        return False

    def _fetch(self, source: Partition, owned: _Owned, count_max: int) -> list[Record]:
        try:
            found = self._log.fetch(source, owned.position, count_max=count_max)
        except CallFailed as error:
            if error.failure is not Failure.OFFSET_OUT_OF_RANGE:
                raise
            owned.position = self._log.start(source)  # auto.offset.reset=earliest
            return []
        owned.position = found.position
        return found.records

    def _tell_positions(self, partitions: Iterable[_Owned]) -> None:
        """Positions that moved although nothing arrived: markers, aborted."""
        moved = []
        for owned in partitions:
            if owned.position > owned.told:
                owned.told = owned.position
                moved.append((owned.token, owned.position))
        if moved:
            self._listener.on_read_to(moved)


def stored_positions(marks: Mapping[Partition, Mark]) -> dict[Partition, CommittedPosition]:
    """Marks as the log keeps them: a position and a text each."""
    return {one: CommittedPosition(mark.position, mark.encode()) for one, mark in marks.items()}
