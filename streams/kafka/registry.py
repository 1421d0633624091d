"""The registry: who is anybody's, as a publisher sees it. aiokafka, by assignment, in no group.

Each fleet's latest registration is a record of the compacted topic `registry`, keyed by its group.
It is read to its end when the registry opens, and followed from then on: a fleet that registers is
known here as soon as its record is fetched, milliseconds later. While the broker is away, what was
heard last holds. A reader that can read no further is replaced by one that begins anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from streams.dead_letters import unroutable_headers
from streams.errors import BrokerError, DecodeError
from streams.fleets import Fleet, Fleets
from streams.headers import Header
from streams.kafka.configs import TAIL
from streams.kafka.positioned import assign, close, count_partitions, fetch, open_at
from streams.outgoing import Outgoing
from streams.schemas import Codec
from streams.topics import INBOX, REGISTRY, Namespace, dlq
from streams.topics.routing import Route

CATCH_UP_S_MAX: Final = 30.0
"""Seconds for reading to the end; a registration that is just being made is waited for."""
POLL_MS: Final = 1_000
RETRY_S: Final = 1.0
"""Between two attempts to begin anew."""

READER: Final[Mapping[str, Any]] = {
    **TAIL,
    "auto_offset_reset": "earliest",  # compacted or made anew: all that is there is to be heard
    "fetch_max_wait_ms": 2_000,  # the broker answers with the first record; idle costs next to nil
}

_log: Final = logging.getLogger("agentlog.registry")


class Registry:
    """Which agents the namespace's fleets have registered. For one event loop."""

    def __init__(
        self,
        bootstrap_servers: str,
        namespace: Namespace,
        codec: Codec,
        *,
        config: Mapping[str, Any] = READER,
    ) -> None:
        self.unreadable = 0
        """Records that are no registration; what their group had said before holds."""
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._source = TopicPartition(namespace.topic(REGISTRY), 0)
        self._codec = codec
        self._config = config
        self._fleets = Fleets()
        self._following: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what is there; who registered before this is known when it returns.

        Raises `BrokerError` if no broker answers, `LogError` if there is no topic `registry`.
        """
        consumer = await self._open()
        self._following = asyncio.create_task(self._follow(consumer), name="registry")

    async def close(self) -> None:
        """Follow no further; what was heard stays known. Twice does no harm."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.wait({following})

    def knows(self, agent: str) -> bool:
        """Whether a fleet has registered this agent, or a pattern that fits it."""
        return self._fleets.knows(agent)

    def apart(
        self, outgoing: Outgoing, now_ms: int
    ) -> tuple[tuple[Route, ...], dict[bytes, list[Header]]]:
        """An envelope's routes, in their order, with those to nobody's inbox led to its dead
        letters; and the headers of these, by key.
        """
        routes = outgoing.routes
        if routes[0].topic != INBOX:  # all routes of an envelope are on one topic
            return routes, {}
        nobodys = [key for _, key in routes if not self.knows(key.decode())]
        dead = {
            key: unroutable_headers(
                outgoing.headers,
                topic=self._namespace.topic(INBOX),
                recipient=key.decode(),
                sender=outgoing.envelope.sender,
                failed_at_ms=now_ms,
            )
            for key in nobodys
        }
        led = (Route(dlq(topic) if key in dead else topic, key) for topic, key in routes)
        return tuple(led) if dead else routes, dead

    # --- reading -----------------------------------------------------------------------------

    async def _open(self) -> AIOKafkaConsumer:
        """A consumer that has read the topic to its end, into fleets that are known from then."""
        consumer = await open_at(self._servers, self._config, {})
        try:
            await count_partitions(consumer, self._source.topic, self._namespace)
            async with asyncio.timeout(CATCH_UP_S_MAX):
                starts = await consumer.beginning_offsets([self._source])
                ends = await consumer.end_offsets([self._source])
                assign(consumer, starts)
                fleets = Fleets()
                while await consumer.position(self._source) < ends[self._source]:
                    self._hear(fleets, await fetch(consumer, POLL_MS))
        except (KafkaError, TimeoutError) as error:
            await close(consumer)
            raise BrokerError(
                f"cannot read {self._source.topic} at {self._servers}: {error or 'timed out'!r}"
            ) from error
        except BaseException:
            await close(consumer)
            raise
        self._fleets = fleets
        return consumer

    async def _follow(self, consumer: AIOKafkaConsumer | None) -> None:
        while True:
            try:
                consumer = consumer or await self._open()
                while True:
                    self._hear(self._fleets, await fetch(consumer, POLL_MS))
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, another reader may read on
                _log.warning("registry: what was heard last holds, for now: %r", error)
            finally:
                if consumer is not None:
                    await close(consumer)
                    consumer = None
            await asyncio.sleep(RETRY_S)

    def _hear(self, fleets: Fleets, messages: list[ConsumerRecord[Any, Any]]) -> None:
        for message in messages:
            group = (message.key or b"").decode(errors="replace")
            if message.value is None:
                fleets.put(group, ())
                continue
            try:
                fleet = Fleet.read(self._codec.decode(message.value, message.headers))
            except (DecodeError, BrokerError) as error:  # the second: where its schema is looked up
                fleet = None
                _log.warning("registry: %s says what cannot be read: %s", group, error)
            if fleet is None:
                self.unreadable += 1
            else:
                fleets.put(group, fleet.agents)
