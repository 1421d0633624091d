"""A streamed answer, as a handler sends it: begun, piece after piece, ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from streams.answers import stream_data, stream_ended, stream_started
from streams.envelope import Envelope


class AnswerStream:
    """Sends the pieces of one answer at once; the end says how many there were.

    A later attempt of the handler begins the stream anew, and whoever reads it is told.
    """

    def __init__(
        self,
        send: Callable[[Envelope], Awaitable[Envelope]],
        request: Envelope,
        attempt: int,
    ) -> None:
        self._send = send
        self._request = request
        self._attempt = attempt
        self._pieces = 0

    async def __aenter__(self) -> Self:
        await self._send(stream_started(self._request, self._attempt))
        return self

    async def send(self, data: Any) -> None:
        """One piece: any JSON value."""
        await self._send(stream_data(self._request, self._attempt, self._pieces, data))
        self._pieces += 1

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self._send(stream_ended(self._request, self._attempt, self._pieces))
        # Else another attempt begins anew, or the last one's failure is answered as an error.
