"""The client: asks agents, and waits for their answers.

    async with session.client("planner") as client:
        answer = await client.request("weather-1", {"city": "Basel"}, timeout_s=10)
        async for word in client.stream("writer-1", {"about": answer.data}):
            ...

Many requests share one reply inbox. A request is sent at once by the client's own publisher, never
in a handler's transaction: so a handler may await the answer to one. One event loop only.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import uuid
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

from streams.answers import ANSWER_KINDS, STREAM_TYPES, Answer, read_answer, read_json
from streams.commands import Commanded, new_command, read_commanded
from streams.envelope import Envelope
from streams.errors import (
    AgentlogError,
    ClientClosed,
    EnvelopeError,
    LogError,
    PublishError,
    RequestFailed,
    RequestTimeout,
    StreamBroken,
    StreamRestarted,
    TooManyRequests,
)
from streams.identity import message_id, random_suffix
from streams.kafka.cancels import Cancels
from streams.kafka.publisher import Publisher
from streams.kafka.replies import ReplyInbox
from streams.mailbox import Mailbox
from streams.ports import Clock, SystemClock
from streams.reassembly import Broken, Ended, Piece, Reassembly, Started, Whole
from streams.requests import new_request

TIMEOUT_S: Final = 30.0
"""S3.12's default."""
REQUESTS_MAX: Final = 10_000
"""Requests that wait for answers at a time; one more is refused (`TooManyRequests`)."""
CLOSE_TIMEOUT_S: Final = 5.0
"""Seconds that cancels get when the client closes."""

_log: Final = logging.getLogger("agentlog.client")


class Client:
    """Requests of one process. Use it as `async with session.client("agent-1") as client:`.

    Entering raises `BrokerError` if no broker answers. Leaving fails what still waits with
    `ClientClosed`. An inbox that can be read no further fails what waits with `LogError`; whoever
    asks next opens it again.
    """

    def __init__(
        self,
        publisher: Publisher,
        inbox: ReplyInbox,
        *,
        requests_max: int = REQUESTS_MAX,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.ignored = 0
        """Answers that nobody waits for: late, repeated, or to something else (S3.12)."""
        self.cancels = Cancels(publisher)
        self._publisher = publisher
        self._inbox = inbox
        self._requests_max = requests_max
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        self._waiting: dict[str, Mailbox] = {}
        self._lost = False
        """Whether the inbox has to be opened again before an answer can come."""
        self._reopening: asyncio.Task[None] | None = None
        self._is_open = False

    async def __aenter__(self) -> Self:
        await self._publisher.start()
        try:
            await self._inbox.start(self)
        except BaseException:
            await self._publisher.close()
            raise
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def instance(self) -> str:
        """Name of its reply inbox: the `reply_to` of its requests."""
        return self._inbox.name

    @property
    def waiting(self) -> int:
        """Requests that wait for an answer, or whose stream has not ended."""
        return len(self._waiting)

    async def request(
        self, to: str, payload: Envelope | Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
    ) -> Answer:
        """Ask an agent, and return its answer.

        `payload` is a JSON object, or an envelope for any other payload type; of that, kind,
        recipients, correlation id, reply inbox and expiry are the client's to set. After
        `timeout_s` nobody begins to handle it any more, and who does is told to stop; so too if
        the awaiting task is cancelled.

        Raises `RequestTimeout`; `RequestFailed` if that is the answer; `TooManyRequests`,
        `ClientClosed`; `LogError` if the inbox is lost meanwhile (ask again), `BrokerError` if a
        lost one cannot be opened; what the publisher raises for an envelope that cannot be sent.
        """
        with self._asking(functools.partial(new_request, to, payload), timeout_s) as asked:
            deadline = _now() + timeout_s
            await self._send(asked, deadline)
            envelope = await asked.get(deadline)
            if envelope.type in STREAM_TYPES:
                problem = f"{to} answers in pieces; ask with `client.stream`"
                raise RequestFailed(asked.request.id, "", problem)
            asked.settled = True
            return read_answer(envelope, asked.request.id)

    async def stream(
        self,
        to: str,
        payload: Envelope | Mapping[str, Any],
        *,
        timeout_s: float = TIMEOUT_S,
        idle_s: float = TIMEOUT_S,
        on_restart: Callable[[], None] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Ask an agent that answers in pieces; yields their JSON values, in order, each once.

        `timeout_s` bounds the wait for the first sign of an answer, `idle_s` each wait after it.
        If the handler fails half-way and is tried again, what was read is void: `on_restart` is
        called before the first piece of the new attempt; without it, `StreamRestarted` is raised.
        An answer that was not streamed counts as one piece. Leaving early tells the handler to
        stop (at once, if the generator is closed: `contextlib.aclosing`).

        Raises `StreamBroken` for a gap, `StreamOverrun`, and what `request` raises.
        """
        read = 0
        with self._asking(functools.partial(new_request, to, payload), timeout_s) as asked:
            request_id = asked.request.id
            deadline = _now() + timeout_s
            await self._send(asked, deadline)
            reassembly = Reassembly()
            while True:
                event = reassembly.add(await asked.get(deadline))
                match event:
                    case Piece(text):
                        read += 1
                        yield read_json(text)
                    case Started():
                        read = _restarted(request_id, read, on_restart)
                    case Broken(expected, got):
                        raise StreamBroken(request_id, expected, got)
                    case Ended(failure):
                        asked.settled = True
                        if failure is not None:
                            raise RequestFailed(request_id, *failure)
                        return
                    case Whole(envelope):
                        asked.settled = True
                        answer = read_answer(envelope, request_id)
                        _restarted(request_id, read, on_restart)
                        yield answer.data
                        return
                if event is not None:
                    deadline = _now() + idle_s

    async def command(self, envelope: Envelope, *, timeout_s: float = TIMEOUT_S) -> Commanded:
        """Send a command to the stream that it names (`stream_id`), and return what came of it.

        With `expected_version` it is carried out only if the stream is there. A timeout says
        nothing of whether it was carried out, unless the command says what it expects.

        Raises `CommandRejected`; `VersionConflict`, which has the stream's version and state to
        decide from anew; and what `request` raises.
        """
        with self._asking(functools.partial(new_command, envelope), timeout_s) as asked:
            deadline = _now() + timeout_s
            await self._send(asked, deadline)
            answer = await asked.get(deadline)
            asked.settled = True
            return read_commanded(answer, asked.request.id)

    async def close(self) -> None:
        """Fail what waits, tell its handlers to stop, then disconnect. Twice does no harm."""
        for asked in self._waiting.values():
            asked.fail(ClientClosed(asked.request.id))
            self._cancel_unless_settled(asked)
        self._is_open = False
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait({self._reopening})
        await self.cancels.close(CLOSE_TIMEOUT_S)
        await self._inbox.close()
        await self._publisher.close()

    def on_reply(self, envelope: Envelope, size: int) -> None:
        """The inbox has an envelope: to whoever waits for it, else nowhere."""
        asked = self._waiting.get(envelope.correlation_id or "")
        if asked is None or envelope.kind not in ANSWER_KINDS:
            self.ignored += 1
            _log.debug("%s ignored: nobody waits for %s", envelope.id, envelope.correlation_id)
        else:
            asked.put(envelope, size)

    def on_inbox_lost(self, error: AgentlogError) -> None:
        """No answer to these can come any more: all that wait fail."""
        self._lost = True
        for asked in self._waiting.values():
            asked.fail(LogError(str(error)))

    @contextmanager
    def _asking(self, make: Callable[..., Envelope], timeout_s: float) -> Iterator[Mailbox]:
        """A request that waits, until its answer is there or nobody wants it any more."""
        now_us = self._clock.now_us()
        correlation_id = uuid.uuid4().hex
        request = make(
            request_id=message_id(now_us // 1000, random_suffix(self._rng)),
            correlation_id=correlation_id,
            reply_to=self._inbox.name,
            now_us=now_us,
            timeout_s=timeout_s,
        )
        self._admit(request)
        asked = self._waiting[correlation_id] = Mailbox(request)
        try:
            yield asked
        finally:
            del self._waiting[correlation_id]
            self.ignored += asked.unread  # they came with the answer that settled it
            self._cancel_unless_settled(asked)

    def _admit(self, request: Envelope) -> None:
        if not self._is_open:
            raise ClientClosed(request.id)
        if len(self._waiting) >= self._requests_max:
            raise TooManyRequests(request.id, self._requests_max)

    async def _reopen(self) -> None:
        """Read on from the inbox's end as it is now: nobody waits for what was answered before."""
        try:
            await self._inbox.close()
            await self._inbox.start(self)
            self._lost = False
        finally:
            self._reopening = None

    async def _inbox_again(self, asked: Mailbox, deadline: float) -> None:
        """Open the lost inbox: once, for all that ask meanwhile, however patient each is."""
        asked.settled = True  # nothing of it is sent yet
        if self._reopening is None:
            self._reopening = asyncio.create_task(self._reopen(), name="inbox again")
            self._reopening.add_done_callback(_heard)
        reopening = self._reopening
        await asyncio.wait({reopening}, timeout=max(deadline - _now(), 0))
        if not self._is_open:
            raise ClientClosed(asked.request.id)
        if not reopening.done():
            raise RequestTimeout(asked.request.id)
        reopening.result()
        asked.settled = False

    async def _send(self, asked: Mailbox, deadline: float) -> None:
        if self._lost:
            await self._inbox_again(asked, deadline)
        try:
            async with asyncio.timeout_at(deadline):
                await self._publisher.publish(asked.request)
        except TimeoutError as error:
            raise RequestTimeout(asked.request.id) from error
        except EnvelopeError:
            asked.settled = True
            raise
        except PublishError as error:
            if not self._is_open:
                raise ClientClosed(asked.request.id) from error
            asked.settled = not error.retriable  # else it may still be written
            raise

    def _cancel_unless_settled(self, asked: Mailbox) -> None:
        if self._is_open and not asked.settled:
            asked.settled = True
            self.cancels.send(asked.request, "nobody waits for its answer any more")


def _heard(reopening: asyncio.Task[None]) -> None:
    """So that nobody warns of an error for which nobody had the patience."""
    if not reopening.cancelled():
        reopening.exception()


def _now() -> float:
    return asyncio.get_running_loop().time()


def _restarted(request_id: str, read: int, on_restart: Callable[[], None] | None) -> int:
    """Void what was read, if anything was; returns how much of the new attempt has been read."""
    if read:
        if on_restart is None:
            raise StreamRestarted(request_id, read)
        on_restart()
    return 0
