"""A TCP proxy in front of every broker that understands Kafka's frames.

A client that is given its ports never meets a broker directly: where a response names brokers,
the proxy names itself. What it can do to the client's connections:

- `hold` the first request about a transaction that fits, or `hold_produce` the one with these bytes
  in it, while everything else goes on. If the client loses patience
  and closes the connection, the request stays, as it would in a switch's buffer; `release` lets
  it go on to the broker, and hands over the answer that nobody waits for any more.
- `withhold` the first answer that fits: the broker has answered, and the client never hears it.
- `cut` the line: nothing passes in either direction, and nothing is closed. `mend` it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

from streams.brokers.embedded.node import HOST
from tests.faults import frames
from tests.faults.frames import Request, Splitter, TransactionRequest

CHUNK: Final = 256 * 1024
ANSWER_S_MAX: Final = 20.0

Fits = Callable[[TransactionRequest], bool]
Takes = Callable[[bytes, Request, TransactionRequest | None], bool]
"""Of a request: its frame, its head, and what it says about a transaction."""


class Held:
    """One request that is held back."""

    def __init__(self, fits: Takes) -> None:
        self._fits = fits
        self.caught = asyncio.Event()
        self._go = asyncio.Event()
        self._answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._taken = False
        self.request: TransactionRequest | None = None
        """What it said about a transaction."""

    def takes(self, frame: bytes, head: Request, found: TransactionRequest | None) -> bool:
        """Whether this is the one: only the first that fits is."""
        if self._taken or not self._fits(frame, head, found):
            return False
        self._taken = True
        self.request = found
        return True

    async def wait(self) -> None:
        """Until it is released."""
        self.caught.set()
        await self._go.wait()

    async def release(self) -> bytes:
        """Let it go on to the broker; returns the broker's answer."""
        self._go.set()
        return await asyncio.wait_for(asyncio.shield(self._answer), ANSWER_S_MAX)

    async def done(self) -> None:
        """Until the broker has answered."""
        await asyncio.shield(self._answer)

    def answered(self, response: bytes) -> None:
        """The broker's answer has come."""
        if not self._answer.done():
            self._answer.set_result(response)


class Withheld:
    """One answer that its client will not get."""

    def __init__(self, api_key: int, size_min: int) -> None:
        self._api_key, self._size_min = api_key, size_min
        self.caught = asyncio.Event()

    def takes(self, api_key: int, answer: bytes) -> bool:
        """Whether this is the one: only the first that fits is."""
        fits = api_key == self._api_key and len(answer) >= self._size_min
        if not fits or self.caught.is_set():
            return False
        self.caught.set()
        return True


class Proxy:
    """One listening port per broker. Use it as an async context manager."""

    def __init__(
        self,
        brokers: Mapping[int, int],
        *,
        listeners: Mapping[int, socket.socket] | None = None,
    ) -> None:
        """`brokers`: node id to real port; `listeners`: sockets to listen on, else any ports."""
        self._brokers = brokers
        self._listeners = listeners or {}
        self._servers: list[asyncio.Server] = []
        self._line = asyncio.Event()
        self._line.set()
        self._held: list[Held] = []
        self._withheld: list[Withheld] = []
        self._links: set[asyncio.Task[None]] = set()
        self._repoint: dict[int, int] = {}
        self.on_transaction: Callable[[TransactionRequest], None] = lambda found: None
        """Told of every request about a transaction, as it passes."""

    async def __aenter__(self) -> Self:
        ports = {}
        for node, real in self._brokers.items():
            listener = self._listeners.get(node)
            if listener is None:
                listener = socket.create_server((HOST, 0))
            server = await asyncio.start_server(self._accepted(real), sock=listener)
            self._servers.append(server)
            ports[node] = listener.getsockname()[1]
            if ports[node] != real:
                self._repoint[real] = ports[node]
        self.servers = ",".join(f"{HOST}:{port}" for port in ports.values())
        """Bootstrap servers for clients."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in self._servers:
            server.close()
        for link in tuple(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    def hold(self, fits: Fits) -> Held:
        """Hold the next request about a transaction that fits."""
        return self._hold(lambda frame, head, found: found is not None and fits(found))

    def hold_produce(self, inside: bytes) -> Held:
        """Hold the next produce request that has these bytes in it, which nobody compressed."""
        return self._hold(
            lambda frame, head, found: head.api_key == frames.PRODUCE and inside in frame
        )

    def _hold(self, fits: Takes) -> Held:
        held = Held(fits)
        self._held.append(held)
        return held

    def withhold(self, api_key: int, size_min: int) -> Withheld:
        """Keep the next answer to such a request to ourselves, if its frame has so many bytes."""
        withheld = Withheld(api_key, size_min)
        self._withheld.append(withheld)
        return withheld

    def cut(self) -> None:
        """Let nothing pass."""
        self._line.clear()

    def mend(self) -> None:
        """Let everything pass, and first what was under way."""
        self._line.set()

    # --- links -------------------------------------------------------------------------------

    def _accepted(self, port: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            link = asyncio.create_task(self._link(port, reader, writer))
            self._links.add(link)
            link.add_done_callback(self._links.discard)

        return accepted

    async def _link(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with contextlib.suppress(OSError), contextlib.closing(writer):
            await self._line.wait()
            from_broker, to_broker = await asyncio.open_connection(HOST, port, limit=CHUNK)
            with contextlib.closing(to_broker):
                link = _Link(self, writer, to_broker)
                answers = asyncio.create_task(link.answers(from_broker))
                try:
                    await link.requests(reader)
                finally:
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)

    async def passing(self) -> None:
        """Until the line is whole."""
        await self._line.wait()

    def holder_of(self, frame: bytes, head: Request) -> Held | None:
        """Who holds this request; tells the observer what it says about a transaction."""
        found = frames.transaction_request(frame, head)
        if found is not None:
            self.on_transaction(found)
        return next((held for held in self._held if held.takes(frame, head, found)), None)

    def withholds(self, api_key: int, answer: bytes) -> bool:
        """Whether this answer goes no further."""
        return any(one.takes(api_key, answer) for one in self._withheld)

    def renamed(self, frame: bytes) -> bytes:
        """A response that may name brokers, naming us instead."""
        return frames.repointed(frame, HOST, self._repoint) if self._repoint else frame


class _Link:
    """One client connection and the broker's end of it."""

    def __init__(
        self, proxy: Proxy, to_client: asyncio.StreamWriter, to_broker: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._to_client = to_client
        self._to_broker = to_broker
        self._asked: dict[int, int] = {}
        self._waiting: dict[int, Held] = {}

    async def requests(self, reader: asyncio.StreamReader) -> None:
        """From the client to the broker, until the client closes and nothing is held."""
        splitter = Splitter()
        while data := await reader.read(CHUNK):
            for frame in splitter.feed(data):
                await self._request(frame)
            await self._to_broker.drain()

    async def _request(self, frame: bytes) -> None:
        head = frames.request(frame)
        self._asked[head.correlation_id] = head.api_key
        held = self._proxy.holder_of(frame, head)
        if held is not None:
            self._waiting[head.correlation_id] = held
            await held.wait()
        await self._proxy.passing()
        self._to_broker.write(frame)
        if held is not None:
            await self._to_broker.drain()
            # The client may have gone: then this is all that keeps the line open.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_S_MAX):
                    await held.done()

    async def answers(self, reader: asyncio.StreamReader) -> None:
        """From the broker to the client."""
        splitter = Splitter()
        try:
            while data := await reader.read(CHUNK):
                for frame in splitter.feed(data):
                    await self._proxy.passing()
                    await self._answer(frame)
        finally:
            self._to_client.close()

    async def _answer(self, frame: bytes) -> None:
        answers = frames.correlation_id(frame)
        held = self._waiting.pop(answers, None)
        if held is not None:
            held.answered(frame)
        # A produce request without acknowledgement has no answer; no client here sends one.
        asked = self._asked.pop(answers)
        if self._proxy.withholds(asked, frame):
            return
        if asked in frames.NAMING:
            frame = self._proxy.renamed(frame)
        with contextlib.suppress(ConnectionError):
            self._to_client.write(frame)
            await self._to_client.drain()
