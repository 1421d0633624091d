"""What the tests of requests share: a namespace with clients, and an agent that answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import Any, Final

from streams.client import Client
from streams.envelope import Envelope, Kind
from streams.kafka.admin import TopicAdmin
from streams.kafka.publisher import Publisher
from streams.kafka.reader import KafkaLogReader
from streams.kafka.replies import ReplyInbox, new_instance_name
from streams.kafka.tail import tail
from streams.ranges import Span
from streams.schemas import Catalogue, Codec
from streams.topics import CONTROL, INBOX, REPLIES, SCHEMAS, TOPICS, Namespace, Topic

CODEC: Final = Codec(Catalogue.load())
DEADLINE_S: Final = 60.0
USED: Final = {name: TOPICS[name] for name in (INBOX, REPLIES, CONTROL, SCHEMAS)}

Reply = Callable[[Envelope], Coroutine[None, None, None]]
Agent = Callable[[Envelope, Reply], Coroutine[None, None, None]]


class Place:
    """One namespace on the broker: who asks, who answers, and what is on the log."""

    def __init__(self, servers: str, namespace: str, used: Mapping[str, Topic] = USED) -> None:
        self.servers = servers
        self.namespace = Namespace(namespace)
        TopicAdmin(servers).provision(self.namespace, used)
        self.reader = KafkaLogReader(servers)

    def publisher(self, sender: str, **settings: Any) -> Publisher:
        return Publisher(self.servers, self.namespace, CODEC, sender=sender, **settings)

    def inbox(self, name: str, **settings: Any) -> ReplyInbox:
        return ReplyInbox(self.servers, self.namespace, CODEC, name, **settings)

    def client(self, sender: str = "planner", **settings: Any) -> Client:
        inbox = self.inbox(new_instance_name(sender))
        return Client(self.publisher(sender), inbox, **settings)

    def spans(self, logical: str, *, from_end: bool = False) -> dict[Any, Span]:
        ends = self.reader.ends([self.namespace.topic(logical)])
        return {
            source: Span(end if from_end else 0, None if from_end else end) for source, end in ends
        }

    async def envelopes(self, logical: str) -> list[Envelope]:
        """All that is on a topic now."""
        async with asyncio.timeout(DEADLINE_S):
            return [
                one.envelope
                async for one in tail(self.servers, CODEC, self.spans(logical))
                if one.envelope is not None
            ]

    @contextlib.asynccontextmanager
    async def agent(self, agent: Agent, name: str = "weather-1") -> AsyncIterator[None]:
        """Runs `agent` on every request to `name` from now on, side by side."""
        spans = self.spans(INBOX, from_end=True)
        async with self.publisher(name) as publisher, asyncio.TaskGroup() as group:

            async def reply(answer: Envelope) -> None:
                await publisher.publish(answer)

            async def listen() -> None:
                async for one in tail(self.servers, CODEC, spans):
                    envelope = one.envelope
                    if envelope and envelope.kind is Kind.REQUEST and name in envelope.recipients:
                        group.create_task(agent(envelope, reply))

            listening = group.create_task(listen())
            try:
                yield
            finally:
                listening.cancel()


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds; fail naming `what`."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not in time: {what}"
        await asyncio.sleep(0.02)
