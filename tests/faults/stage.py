"""What a fault is given: the cluster, a namespace with a load on it, workers, a way to wait."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from enum import Enum, auto
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import KafkaException

from consumers.worker.worker import new_run_id
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition
from streams.schemas import Catalogue, Codec
from streams.topics import TOPICS, Namespace
from streams.topics.catalogue import dlq
from tests.faults import roles
from tests.faults.cluster import Cluster
from tests.faults.fleet import Fleet
from tests.faults.ground import Ground
from tests.faults.load import Load
from tests.faults.pipeline import PIPELINE
from tests.faults.watch import Progress

CODEC: Final = Codec(Catalogue.load())
HAPPEN_S_MAX: Final = 60.0
"""How long a fault waits for what it wants to see (a member gone, a request held)."""

Notes = dict[str, str]
"""What a fault did and saw, in words, for the report."""


class NotPossibleHere(Exception):
    """This machine does not allow the fault; says why."""


class NothingWorks(Exception):
    """The pipeline does not work even before the fault: nothing can be said about that."""


class DidNotHappen(Exception):
    """The fault did not take place as it must, so its zeros would prove nothing."""


class Placement(Enum):
    """Which nodes coordinate the pipeline."""

    ANYWHERE = auto()
    APART = auto()
    """Controller, group coordinator and all transaction coordinators are three nodes."""
    TOGETHER = auto()
    """They are one node; the other two only lead partitions."""


class Stage:
    """One fault's run: everything it may use or break."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: Namespace,
        load: Load,
        ground: Ground,
        folder: Path,
        say: Callable[[str], None],
    ) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.load = load
        self.ground = ground
        self.folder = folder
        self.say = say
        self.group = namespace.group(ground.group)
        self.source = namespace.topic(ground.source)
        self.fleet = Fleet(cluster.servers, namespace, ground, folder)
        partitions = TOPICS[ground.source].partitions
        self.progress = Progress(cluster.servers, self.group, self.source, partitions)
        self.run_id: Callable[[], str] = new_run_id
        """Names the next process run; set where its transaction coordinator is chosen."""
        self.never_committed: set[str] = set()
        """Task ids that a fault wrote in transactions which nobody committed."""
        self.notes: Notes = {}
        self.struck_ms: int | None = None
        """When the fault struck, epoch milliseconds."""
        self.wire: object = None
        """What a network fault acts on, if the setting has made one."""
        self.loaded: asyncio.Task[None] | None = None
        """Ends when all of the load is acknowledged; None until it has begun."""
        self.given_up = False
        """Nothing is waited for any more."""
        self._over_at: float | None = None
        self.failures: list[str] = []
        """What must not happen though the log is whole: a worker that ended with an error."""
        self.laps: dict[str, float] = {}
        """Seconds that each part of the run took."""
        self._lap_began = time.monotonic()

    @property
    def sources(self) -> list[Partition]:
        """The partitions that the group reads."""
        partitions = TOPICS[self.ground.source].partitions
        return [Partition(self.source, index) for index in range(partitions)]

    def transactional_id(self, run_id: str) -> str:
        """Full transactional id of one of the group's process runs."""
        return self.namespace.transactional_id(self.ground.group, run_id)

    def members(self) -> int:
        """Members that the group's coordinator counts now."""
        return len(self._described().members)

    def shares(self) -> list[int]:
        """How many partitions each of them has now, as the coordinator sees it."""
        return [len(one.assignment.topic_partitions) for one in self._described().members]

    def _described(self) -> Any:
        answer = self.cluster.admin.describe_consumer_groups([self.group])[self.group]
        return answer.result(10)

    def group_now(self) -> str:
        """The group as its coordinator has it: each member's partitions, and those it should have
        where they are others. Unanswered: why.
        """
        try:
            found = self._described()
        except KafkaException as error:
            return f"unknown: {error}"

        def indexes(assignment: Any) -> list[int]:
            parts = assignment.topic_partitions if assignment is not None else []
            return sorted(part.partition for part in parts)

        told = [f"{found.state.name.lower()}, coordinator {found.coordinator.id}"]
        for member in found.members:
            has, target = indexes(member.assignment), indexes(member.target_assignment)
            wants = "" if has == target else f", should have {target}"
            told.append(f"{member.member_id} ({member.client_id[-8:]}) has {has}{wants}")
        return "; ".join(told)

    def all_joined(self) -> bool:
        """Whether all worker processes, and there are some, are members."""
        return 0 < len(self.fleet.processes) <= self.members()

    def is_over(self) -> None:
        """The fault is over; said again, it means nothing."""
        if self._over_at is None:
            self._over_at = time.monotonic()

    def not_over_for(self, seconds: float) -> bool:
        """Whether the fault lasts, or has been over for less than that."""
        return self._over_at is None or time.monotonic() < self._over_at + seconds

    def lap(self, name: str) -> None:
        """A part of the run is over."""
        now = time.monotonic()
        self.laps[name] = round(self.laps.get(name, 0.0) + now - self._lap_began, 1)
        self._lap_began = now

    def strikes(self) -> None:
        """Now something breaks; what went before was only finding out what to break."""
        self.struck_ms = time.time_ns() // 1_000_000

    async def note_roles(self) -> None:
        """Note what each node does, before one of them breaks."""
        ids = [self.transactional_id(one.run_id) for one in self.fleet.processes]
        found = await roles.all_roles(
            self.cluster, topic=self.source, group=self.group, transactional_ids=ids
        )
        self.notes["roles"] = " | ".join(f"node {node}: {what}" for node, what in found.items())

    def dead_letters(self) -> int:
        """Visible records on the dead-letter topic of the source now."""
        topic = self.namespace.topic(dlq(self.ground.source))
        with KafkaLogReader(self.cluster.servers) as reader:
            return sum(
                1
                for source, end in reader.ends([topic])
                for batch in reader.read(source, 0, end)
                for _ in batch
            )

    async def until(
        self, condition: Callable[[], bool], what: str, limit_s: float = HAPPEN_S_MAX
    ) -> float:
        """Poll in a thread until it holds; returns the seconds. Raises `DidNotHappen`."""
        began = time.monotonic()
        while not await asyncio.to_thread(_quietly, condition):
            if time.monotonic() - began > limit_s:
                raise DidNotHappen(f"not within {limit_s:g} s: {what}")
            await asyncio.sleep(0.1)
        return time.monotonic() - began


def _quietly(condition: Callable[[], bool]) -> bool:
    """A broker that is away answers no question; the next time it may."""
    try:
        return condition()
    except Exception:  # noqa: BLE001 - unanswered is not yet
        return False


During = Callable[[Stage], Awaitable[None]]
Setting = Callable[[Stage], AbstractAsyncContextManager[None]]


def workers(count: int) -> Setting:
    """A setting of so many plain worker processes."""

    @contextlib.asynccontextmanager
    async def setting(stage: Stage) -> AsyncIterator[None]:
        for _ in range(count):
            await stage.fleet.start(run_id=stage.run_id)
        yield

    return setting


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: what breaks, and on which ground."""

    name: str
    what: str
    """What is done, in a sentence."""
    during: During
    """Breaks it, and mends what it broke itself. Notes what it saw."""
    setting: Setting = workers(2)
    ground: Ground = PIPELINE
    placement: Placement = Placement.ANYWHERE
    special: Callable[[int], dict[int, str]] = lambda records: {}
    """Which records of so many are tasks of another type."""
    begins_at: float = 0.15
    """Share of the work that is done when the fault begins."""
    pace_s: float = 0.0
    """Seconds that sending all of the load would take. At that pace at least half of it is sent,
    and more until a little after the fault is over. 0: all of it before the workers start."""
