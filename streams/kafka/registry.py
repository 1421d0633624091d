"""The registry: who is anybody's, as a publisher sees it.

Each fleet's latest registration is a record of the compacted topic `registry`, keyed by its group.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from streams.dead_letters import unroutable_headers
from streams.errors import BrokerError, DecodeError
from streams.fleets import Fleet, Fleets
from streams.headers import Header
from streams.kafka.compacted import READER, CompactedTopic
from streams.outgoing import Outgoing
from streams.record import Record
from streams.schemas import Codec
from streams.topics import INBOX, REGISTRY, Namespace, dlq
from streams.topics.routing import Route

_log: Final = logging.getLogger("agentlog.registry")


class _Registrations:
    """What the fleets have registered, as read so far."""

    def __init__(self, codec: Codec) -> None:
        self.fleets = Fleets()
        self.unreadable = 0
        self._codec = codec

    def hear(self, key: str, record: Record) -> None:
        """A group's latest registration; a tombstone takes it out."""
        if record.value is None:
            self.fleets.put(key, ())
            return
        try:
            fleet = Fleet.read(self._codec.decode(record.value, record.headers))
        except (DecodeError, BrokerError) as error:  # the second: where its schema is looked up
            fleet = None
            _log.warning("registry: %s says what cannot be read: %s", key, error)
        if fleet is None:
            self.unreadable += 1
        else:
            self.fleets.put(key, fleet.agents)


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
        self._namespace = namespace
        self._topic = CompactedTopic(
            bootstrap_servers, namespace, REGISTRY, lambda: _Registrations(codec), config=config
        )

    @property
    def unreadable(self) -> int:
        """Records that are no registration; what their group had said before holds."""
        return self._topic.table.unreadable

    async def start(self) -> None:
        """Read what is there; who registered before this is known when it returns.

        Raises `BrokerError` if no broker answers, `LogError` if there is no topic `registry`.
        """
        await self._topic.start()

    async def close(self) -> None:
        """Follow no further; what was heard stays known. Twice does no harm."""
        await self._topic.close()

    def knows(self, agent: str) -> bool:
        """Whether a fleet has registered this agent, or a pattern that fits it."""
        return self._topic.table.fleets.knows(agent)

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
