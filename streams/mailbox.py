"""A mailbox: what has come for one request and is not taken yet. For one event loop, one taker."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from streams.envelope import Envelope
from streams.errors import AgentlogError, RequestTimeout, StreamOverrun

UNREAD_MAX: Final = 10_000
"""Pieces of one answer that came and were not taken yet; one more ends it (`StreamOverrun`)."""
UNREAD_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bytes of such pieces; past it the answer ends, too."""


class Mailbox:
    """Envelopes for one request, in the order they came, bounded by count and bytes.

    What does not fit fails the mailbox: who sends cannot be made to wait, for the inbox that it
    comes through is everybody's.
    """

    def __init__(
        self,
        request: Envelope,
        *,
        unread_max: int = UNREAD_MAX,
        unread_bytes_max: int = UNREAD_BYTES_MAX,
    ) -> None:
        self.request = request
        self.settled = False
        """Nobody has to be told not to go on: it was answered, refused, or cancelled already."""
        self._unread_max = unread_max
        self._unread_bytes_max = unread_bytes_max
        self._bytes = 0
        self._unread: deque[tuple[Envelope, int]] = deque()
        self._failure: AgentlogError | None = None
        self._news: asyncio.Future[None] | None = None

    @property
    def unread(self) -> int:
        """Envelopes that came and were not taken."""
        return len(self._unread)

    def put(self, envelope: Envelope, size: int) -> None:
        """An envelope of this many bytes has come."""
        if self._failure is not None:
            return
        if len(self._unread) == self._unread_max or self._bytes + size > self._unread_bytes_max:
            self._unread.clear()
            self.fail(StreamOverrun(self.request.id, self._unread_max, self._unread_bytes_max))
            return
        self._unread.append((envelope, size))
        self._bytes += size
        self._wake()

    def fail(self, error: AgentlogError) -> None:
        """Raise this from `get` once all that came before is taken. The first failure stands."""
        self._failure = self._failure or error
        self._wake()

    async def get(self, deadline: float) -> Envelope:
        """The next envelope. Raises what the mailbox failed with, and `RequestTimeout` at the
        deadline, in the event loop's time.
        """
        loop = asyncio.get_running_loop()
        while not self._unread:
            if self._failure is not None:
                raise self._failure
            left_s = deadline - loop.time()
            if left_s <= 0:
                raise RequestTimeout(self.request.id)
            self._news = loop.create_future()
            await asyncio.wait({self._news}, timeout=left_s)
        envelope, size = self._unread.popleft()
        self._bytes -= size
        return envelope

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
