"""Registration: a worker whose app has agents says so when it starts (S5.6).

`FleetRegistered` goes to `events`, where it stays, and the same bytes under the group's name to the
compacted topic `registry`, where publishers look: one transaction, by a producer of its own, so
that neither is ever there without the other. If the registry says the same already, nothing is
written; what holds is what the worker that started last has said.
"""

from __future__ import annotations

import asyncio
from itertools import chain
from random import SystemRandom
from typing import Final

import structlog

from consumers.app import App
from consumers.journal.outcomes import Output
from consumers.outbox import Outbox
from consumers.worker.ports import Committed, Transaction
from consumers.worker.transactions import KafkaTransactions
from streams.errors import BrokerError, DecodeError
from streams.fleets import FLEET_REGISTERED, Fleet
from streams.identity import message_id, random_suffix
from streams.kafka.reader import KafkaLogReader
from streams.ports import LogReader
from streams.schemas import Codec
from streams.topics import REGISTRY, Namespace

ATTEMPTS_MAX: Final = 5
RETRY_S: Final = 1.0
"""Between two attempts."""

_log: Final = structlog.get_logger("agentlog.worker")


class Registration:
    """Says on the log which agents a group runs. `outbox` stamps and encodes the event."""

    def __init__(
        self, bootstrap_servers: str, namespace: Namespace, codec: Codec, outbox: Outbox
    ) -> None:
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._codec = codec
        self._outbox = outbox

    async def announce(self, app: App, run_id: str) -> bool:
        """Register the app's agents, for one process run; False if there was nothing to write.

        Raises `BrokerError` if Kafka does not take it, `LogError` if there is no `registry`.
        """
        if not app.agents:
            return False
        fleet = Fleet(
            group=self._namespace.group(app.name),
            agents=tuple(sorted(set(app.agents))),
            topics=tuple(sorted(map(self._namespace.topic, app.topics))),
        )
        transactions = KafkaTransactions(
            self._servers, self._namespace.transactional_id(app.name, f"{run_id}-registration")
        )
        try:
            with KafkaLogReader(self._servers) as reader:
                for attempt in range(1, ATTEMPTS_MAX + 1):
                    # Also after a commit whose end is not known: then it tells.
                    if await asyncio.to_thread(self._registered, reader, fleet.group) == fleet:
                        return attempt > 1
                    if await transactions.commit(self._transaction(fleet)) is Committed.YES:
                        _log.info("fleet_registered", group=fleet.group, agents=fleet.agents)
                        return True
                    await asyncio.sleep(RETRY_S)
        finally:
            await transactions.close()
        raise BrokerError(
            f"{self._servers} does not take the registration of {fleet.group}: none of "
            f"{ATTEMPTS_MAX} attempts was committed"
        )

    def _registered(self, reader: LogReader, group: str) -> Fleet | None:
        """What the registry says of this group now."""
        topic, key = self._namespace.topic(REGISTRY), group.encode()
        starts, found = reader.starts([topic]), None
        for source, end in reader.ends([topic]):
            for record in chain.from_iterable(reader.read(source, starts[source], end)):
                if record.key == key:
                    found = record
        if found is None or found.value is None:
            return None
        try:
            return Fleet.read(self._codec.decode(found.value, found.headers))
        except DecodeError:
            return None  # anybody may write to the log

    def _transaction(self, fleet: Fleet) -> Transaction:
        """The event and its copy. No `writer`: that would make it an output of the group's work."""
        now_us = self._outbox.clock.now_us()
        event = fleet.registered().with_(
            id=message_id(now_us // 1000, random_suffix(SystemRandom())), created_at=now_us
        )
        written = self._outbox.records(event)
        latest = Output(
            self._namespace.topic(REGISTRY),
            fleet.group.encode(),
            written[0].value,
            written[0].headers,
        )
        schema = self._outbox.schema_record(FLEET_REGISTERED)
        return Transaction(outputs=[schema, *written, latest], positions=[])
