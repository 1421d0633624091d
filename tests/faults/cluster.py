"""Three real brokers, one by one: killed, paused, ended, brought back.

Each node is broker and controller at once, replication is 3 and `min.insync.replicas` 2, so any
one node may be away. `heal` brings all of them back and waits until every replica is in sync:
no fault begins on what the one before it has left.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from confluent_kafka import Consumer, ElectionType, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams.brokers.embedded import EmbeddedKafka
from streams.brokers.embedded.process import wait_gone
from streams.brokers.embedded.state import ProcessId
from streams.errors import BrokerError
from streams.kafka.configs import ADMIN, SILENT
from streams.topics import Namespace

NODES: Final = 3
HEAL_S_MAX: Final = 120.0
"""How long all replicas may take to be in sync again, all nodes being up."""
END_S_MAX: Final = 60.0
DATA_SUFFIXES: Final = (".log", ".txnindex", ".snapshot")
"""Files of a partition that are worth keeping; the other indexes are mostly air."""
TRANSACTIONS: Final = "__transaction_state-"
STARTS_MAX: Final = 3
"""Tries to bring a node back before its fault counts as broken off."""
ASK_S: Final = 20.0
POLL_S: Final = 0.25


class NotWhole(Exception):
    """The cluster did not become what a fault needs; says what it lacks."""


class Cluster:
    """An embedded cluster for the length of a `with` block."""

    def __init__(self) -> None:
        self._kafka = EmbeddedKafka(nodes=NODES)
        self._away: set[int] = set()
        self._paused: set[int] = set()
        self.controller: int | None = None
        """The node that was last said to control; None once a node has been touched."""

    def __enter__(self) -> Self:
        self._kafka.start()
        self.admin = self._another_admin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for node in tuple(self._paused):
            self.resume(node)
        self._kafka.stop()

    @property
    def servers(self) -> str:
        """Bootstrap servers of all nodes."""
        return self._kafka.bootstrap_servers

    @property
    def ports(self) -> dict[int, int]:
        """Each node's port for clients."""
        return {node.node_id: node.port for node in self._kafka.state.nodes}

    def process(self, node: int) -> ProcessId:
        """The node's process as it is now."""
        state = self._kafka.state
        return state.processes[[one.node_id for one in state.nodes].index(node)]

    def copy_logs(self, folder: Path) -> None:
        """Put each node's log into a folder: what a row found wrong may be the brokers' doing."""
        for log in self._kafka.folder.glob("node-*/logs/*.log"):
            if log.stat().st_size:
                shutil.copy(log, folder / f"{log.parent.parent.name}-{log.name}")

    def copy_data(self, folder: Path, namespace: Namespace) -> None:
        """Put what each node holds of a namespace, and of transactions, into a folder.

        Only there do markers, epochs and aborted batches show; no reader ever sees them.
        """
        for node in self._kafka.folder.glob("node-*"):
            for begin in (namespace.topic(""), TRANSACTIONS):
                for file in node.glob(f"data/{begin}*/*"):
                    if file.suffix in DATA_SUFFIXES:
                        kept = folder / node.name / file.parent.name
                        kept.mkdir(parents=True, exist_ok=True)
                        shutil.copy(file, kept)

    # --- what breaks it ----------------------------------------------------------------------

    def kill(self, node: int) -> None:
        """SIGKILL: no goodbye to anybody."""
        self._away.add(node)
        self.controller = None
        os.kill(self.process(node).pid, signal.SIGKILL)

    def pause(self, node: int) -> None:
        """SIGSTOP: it holds its connections and says nothing."""
        self._paused.add(node)
        self.controller = None
        os.kill(self.process(node).pid, signal.SIGSTOP)

    def resume(self, node: int) -> None:
        """SIGCONT: it goes on as if no time had passed."""
        os.kill(self.process(node).pid, signal.SIGCONT)
        self._paused.discard(node)

    async def end(self, node: int) -> None:
        """SIGTERM: it hands over what it leads, then ends."""
        self._away.add(node)
        self.controller = None
        process = self.process(node)
        os.kill(process.pid, signal.SIGTERM)
        if not await asyncio.to_thread(wait_gone, process, END_S_MAX):
            raise RuntimeError(f"node {node} did not end within {END_S_MAX:g} s of SIGTERM")

    async def restart(self, node: int) -> None:
        """Start a node that is gone, with its data and its port; more than once if it must be."""
        for attempt in range(1, STARTS_MAX + 1):
            try:
                await asyncio.to_thread(self._kafka.restart_node, node)
                break
            except BrokerError:
                if attempt == STARTS_MAX:
                    raise
        self._away.discard(node)

    # --- what mends it -----------------------------------------------------------------------

    async def warm_up(self) -> None:
        """Have Kafka make its own topics, so that coordinators can be told from the first fault."""
        for use in (self._transact, self._ask_group):
            await _until(use, "a coordinator answers")
        await self.whole()

    def _transact(self) -> bool:
        config = {"bootstrap.servers": self.servers, "transactional.id": "warm-up"}
        try:
            Producer(config, logger=SILENT).init_transactions(ASK_S)
        except KafkaException:
            return False  # its coordinator is only just being elected
        return True

    def _ask_group(self) -> bool:
        config = {"bootstrap.servers": self.servers, "group.id": "warm-up"}
        consumer = Consumer(config, logger=SILENT)
        try:
            consumer.committed([TopicPartition("none", 0)], timeout=ASK_S)
        except KafkaException:
            return False
        finally:
            consumer.close()
        return True

    async def heal(self) -> None:
        """Bring every node back and wait until nothing lacks a replica."""
        for node in tuple(self._paused):
            self.resume(node)
        for node in tuple(self._away):
            await self.restart(node)
        await self.whole()

    async def whole(self) -> None:
        """Wait until all nodes are in and every replica is in sync, and lead what is theirs."""
        await _until(self._is_whole, "every node is in, and every replica in sync")
        # A node that came back leads nothing until somebody asks for it.
        await _until(self._preferred_lead, "each partition is led by its first replica")

    def _preferred_lead(self) -> bool:
        """Whether every partition's first replica leads it; asks for it if not.

        Nobody may answer while the controller is being elected itself. Each time another client
        asks: after a stall of all nodes one went on asking in vain for minutes.
        """
        admin = self._another_admin()
        try:
            apart = any(
                partition.leader != partition.replicas[0]
                for topic in admin.list_topics(timeout=ASK_S).topics.values()
                for partition in topic.partitions.values()
            )
            if apart:
                # With a timeout of ours the client fails on its own arguments (2.16.0).
                admin.elect_leaders(ElectionType.PREFERRED, None).result(ASK_S)
        except (KafkaException, TimeoutError):
            return False
        return not apart

    def _another_admin(self) -> AdminClient:
        return AdminClient({**ADMIN, "bootstrap.servers": self.servers}, logger=SILENT)

    def _is_whole(self) -> bool:
        try:
            known = self._another_admin().list_topics(timeout=5)
        except KafkaException:
            return False
        return len(known.brokers) == NODES and all(
            len(partition.isrs) == len(partition.replicas)
            for topic in known.topics.values()
            for partition in topic.partitions.values()
        )


async def _until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(HEAL_S_MAX):
            while not await asyncio.to_thread(condition):  # noqa: ASYNC110 - no event tells it
                await asyncio.sleep(POLL_S)
    except TimeoutError as error:
        raise NotWhole(f"not within {HEAL_S_MAX:g} s: {what}") from error
