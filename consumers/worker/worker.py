"""The composition of one worker process: app, core, Kafka consumer, commits, control."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import Final

from consumers.app import App, LogAccess
from consumers.journal import Delivery, Output
from consumers.outbox import RECORD_BYTES_MAX, Outbox
from consumers.window import Window
from consumers.worker.control import ControlListener
from consumers.worker.core import Core
from consumers.worker.deliveries import KafkaDeliveries
from consumers.worker.lanes import Gate, Gates
from consumers.worker.loop import WorkerLoop
from consumers.worker.ports import Committed, Transaction, Transactions
from consumers.worker.registration import Registration
from consumers.worker.sending import Sending
from consumers.worker.source import KafkaSource
from consumers.worker.status import client_id
from consumers.worker.transactions import KafkaTransactions
from streams.client import Client
from streams.kafka.publisher import Publisher
from streams.kafka.reader import KafkaLogReader
from streams.kafka.replies import ReplyInbox, new_instance_name
from streams.ports import Clock, SystemClock
from streams.schemas import Codec
from streams.topics import Namespace

REVOKE_MARGIN_S: Final = 60.0
"""A revocation waits for the drain and one commit: all of its steps, each within its bound."""

TYPES_MAX: Final = 10_000
"""Payload types whose limits are remembered."""


class Worker:
    """One member of an app's group.

    `run_id` names this process run: it is in its transactional id and the `writer` of its journal
    records. A fresh one each time, unless a supervisor chose it. `on_commit` is called after each
    commit, the openings of partitions included.
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
        on_commit: Callable[[], None] | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self.app = app.for_worker(
            LogAccess(
                open=lambda: KafkaLogReader(bootstrap_servers),
                codec=codec,
                namespace=namespace,
                clock=clock,
                run=asyncio.to_thread,
                write=self._write_apart,
            )
        )
        self.run_id = run_id or new_run_id()
        self._servers = bootstrap_servers
        self._namespace = namespace
        self._record_bytes_max = record_bytes_max
        self._on_commit = on_commit
        self._sending = Sending(self._make_publisher, self._make_client)
        self._codec = codec
        self._outbox = Outbox(
            codec,
            namespace,
            clock,
            app_name=app.name,
            writer=self.run_id,
            record_bytes_max=record_bytes_max,
            at_once=self._sending,
        )
        self._registration = Registration(bootstrap_servers, namespace, codec, self._outbox)
        self.stubborn = 0
        """Handlers that did not end though the worker has: only the process's end ends them."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain, commit and leave the group.

        Raises `BrokerError` if Kafka cannot be worked with.
        """
        app, group = self.app, self._namespace.group(self.app.name)
        window = Window(app.in_flight_max, app.in_flight_bytes_max)
        core = Core(
            app.running_max,
            window.release,
            gates=gates_of(app),
            dedup_window=app.dedup_window,
            in_flight_max=app.in_flight_max,
        )
        source = KafkaSource(
            self._servers,
            group,
            [self._namespace.topic(topic) for topic in app.topics],
            window,
            revoke_s_max=app.drain_s_max + REVOKE_MARGIN_S,
            read_back=app.dedup_window,
            client_id=client_id(self.run_id),
        )
        loop = WorkerLoop(
            app,
            core,
            source,
            self._transactions(source),
            self._outbox,
            group=group,
            run_id=self.run_id,
            on_commit=self._on_commit,
        )
        control = ControlListener(
            self._servers,
            self._namespace,
            self._codec,
            loop,
            group=group,
            run_id=self.run_id,
            busy=lambda: loop.busy,
        )
        try:
            await control.start()
            await self._registration.announce(app, self.run_id)
            await loop.run(stop)
        finally:
            self.stubborn = loop.stubborn
            await control.stop()
            await self._sending.close()

    def _transactions(self, source: KafkaSource) -> Transactions:
        if Delivery(self.app.delivery) is Delivery.AT_LEAST_ONCE:
            return KafkaDeliveries(self._servers, source)
        return KafkaTransactions(
            self._servers, self._namespace.transactional_id(self.app.name, self.run_id)
        )

    async def _write_apart(self, outputs: Sequence[Output], types: Sequence[str]) -> bool:
        """`LogAccess.write`."""
        transactions = KafkaTransactions(
            self._servers, self._namespace.transactional_id(self.app.name, f"{self.run_id}-apart")
        )
        schemas = [self._outbox.schema_record(name) for name in types]
        try:
            committed = await transactions.commit(Transaction([*schemas, *outputs], []))
        finally:
            await transactions.close()
        return committed is Committed.YES

    def _make_publisher(self) -> Publisher:
        return Publisher(
            self._servers,
            self._namespace,
            self._codec,
            sender=self.app.name,
            record_bytes_max=self._record_bytes_max,
        )

    def _make_client(self) -> Client:
        name = new_instance_name(self.app.name)
        inbox = ReplyInbox(self._servers, self._namespace, self._codec, name)
        return Client(self._make_publisher(), inbox)


def gates_of(app: App) -> Gates:
    """What limits an app's handlers, by payload type as Kafka headers say it."""
    by_handler = {
        one.name: Gate(one.concurrency_max)
        for one in app.handlers
        if one.concurrency_max is not None
    }
    by_type: dict[bytes, tuple[Gate, ...]] = {}

    def gates(type_name: bytes) -> tuple[Gate, ...]:
        found = by_type.get(type_name)
        if found is None:
            handlers = app.handlers_for(type_name.decode("utf-8", "replace")) if by_handler else ()
            found = tuple(by_handler[one.name] for one in handlers if one.name in by_handler)
            if len(by_type) < TYPES_MAX:  # anybody may write any header
                by_type[type_name] = found
        return found

    return gates


def new_run_id() -> str:
    """A name for a process run that no other has."""
    return uuid.uuid4().hex
