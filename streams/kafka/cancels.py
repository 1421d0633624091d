"""Cancels: tell whoever has a request not to go on with it, without waiting for that."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from streams.control import cancel
from streams.envelope import Envelope
from streams.errors import AgentlogError
from streams.kafka.publisher import Publisher

CANCELS_MAX: Final = 1_000
"""Cancels on their way at a time. One more is dropped: then the request's expiry has to do."""
CANCEL_TIMEOUT_S: Final = 10.0

_log: Final = logging.getLogger("agentlog.client")


class Cancels:
    """Sends cancels in the background; what cannot be sent in time is given up."""

    def __init__(self, publisher: Publisher) -> None:
        self.dropped = 0
        """Cancels that were not written: too many were on their way, or Kafka was not there."""
        self._publisher = publisher
        self._sending: set[asyncio.Task[None]] = set()

    def send(self, request: Envelope, reason: str) -> None:
        """Send the cancel of a request; returns at once."""
        if len(self._sending) >= CANCELS_MAX:
            self._drop(request, "too many are on their way")
            return
        task = asyncio.create_task(self._send(request, reason))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def close(self, timeout_s: float) -> None:
        """Wait for those on their way, at most this long."""
        if not self._sending:
            return
        _, left = await asyncio.wait(self._sending, timeout=timeout_s)
        for task in left:
            task.cancel()

    async def _send(self, request: Envelope, reason: str) -> None:
        envelope = cancel(request.id, reason).with_(
            sender=request.sender, causation_id=request.id, session_id=request.session_id
        )
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                await self._publisher.publish(envelope)
        except (AgentlogError, TimeoutError) as error:
            self._drop(request, str(error) or "timed out")

    def _drop(self, request: Envelope, problem: str) -> None:
        self.dropped += 1
        _log.debug("cancel of %s dropped: %s", request.id, problem)
