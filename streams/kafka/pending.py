"""The bound on what a publisher holds unacknowledged: past it, who publishes waits."""

from __future__ import annotations

import asyncio
import sys
from collections import deque


class Pending:
    """Counts records on their way, and the bytes of their values. Waiters get room first come,
    first served.

    There is room while both are below their bounds, so the last one in may exceed `bytes_max`.
    """

    def __init__(self, count_max: int, bytes_max: int) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._count = 0
        self._bytes = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._drained: asyncio.Future[None] | None = None

    @property
    def count(self) -> int:
        """Records not settled yet."""
        return self._count

    @property
    def full(self) -> bool:
        """Whether the next record has to wait (`room`)."""
        return self._at_bound or bool(self._waiting)

    @property
    def _at_bound(self) -> bool:
        return self._count >= self._count_max or self._bytes >= self._bytes_max

    def add(self, count: int, size: int) -> None:
        """These many more are on their way, of this many bytes together."""
        self._count += count
        self._bytes += size
        if self._waiting:
            self._wake_next()

    def settle(self, count: int, size: int) -> None:
        """These many were acknowledged, or given up."""
        self._count -= count
        self._bytes -= size
        self._wake_next()
        if self._count == 0 and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    async def room(self) -> None:
        """Wait until there is room, after everybody who already waits; then `add` at once.

        Who does not `add` keeps the place, and nobody after it gets one.
        """
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append(turn)
        try:
            await turn
            while self._at_bound:  # somebody was quicker: keep the first place
                turn = loop.create_future()
                self._waiting.appendleft(turn)
                await turn
        except asyncio.CancelledError:
            if turn in self._waiting:
                self._waiting.remove(turn)
            self._wake_next()
            raise

    def close(self) -> None:
        """Let go everybody who waits: there is no bound any more, for nothing more is sent."""
        self._count_max = self._bytes_max = sys.maxsize
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)

    async def drained(self, timeout_s: float) -> None:
        """Wait until nothing is on its way, at most this long."""
        if self._count:
            self._drained = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._drained], timeout=timeout_s)

    def _wake_next(self) -> None:
        while self._waiting and not self._at_bound:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
