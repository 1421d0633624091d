"""The composition of one worker process: app, core, Kafka consumer, Kafka transactions."""

from __future__ import annotations

import asyncio
import uuid
from typing import Final

from consumers.app import App
from consumers.context import RECORD_BYTES_MAX, Outbox
from consumers.window import Window
from consumers.worker.core import Core
from consumers.worker.loop import WorkerLoop
from consumers.worker.source import KafkaSource
from consumers.worker.transactions import WATCHDOG_S, KafkaTransactions
from streams.ports import Clock, SystemClock
from streams.schemas import Codec
from streams.topics import Namespace

REVOKE_MARGIN_S: Final = WATCHDOG_S
"""A revocation waits for the drain and one commit; a commit that hangs ends the process."""


class Worker:
    """One member of an app's group.

    `run_id` names this process run: it is in its transactional id and the `writer` of its journal
    records. A fresh one each time, unless a supervisor chose it.
    """

    def __init__(
        self,
        app: App,
        bootstrap_servers: str,
        namespace: Namespace,
        codec: Codec,
        *,
        run_id: str = "",
        clock: Clock | None = None,
        record_bytes_max: int = RECORD_BYTES_MAX,
    ) -> None:
        self.app = app
        self.run_id = run_id or new_run_id()
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._outbox = Outbox(
            codec,
            namespace,
            clock or SystemClock(),
            app_name=app.name,
            writer=self.run_id,
            record_bytes_max=record_bytes_max,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain, commit and leave the group.

        Raises `HandlerFailed` if a handler did, `BrokerError` if Kafka cannot be worked with.
        """
        app, namespace = self.app, self._namespace
        group = namespace.group(app.name)
        window = Window(app.in_flight_max, app.in_flight_bytes_max)
        source = KafkaSource(
            self._servers,
            group,
            [namespace.topic(topic) for topic in app.topics],
            window,
            revoke_s_max=app.drain_s_max + REVOKE_MARGIN_S,
        )
        transactions = KafkaTransactions(
            self._servers, namespace.transactional_id(app.name, self.run_id)
        )
        loop = WorkerLoop(
            app,
            Core(app.running_max, window.release),
            source,
            transactions,
            self._outbox,
            group=group,
            run_id=self.run_id,
        )
        await loop.run(stop)


def new_run_id() -> str:
    """A name for a process run that no other has."""
    return uuid.uuid4().hex
