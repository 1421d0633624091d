"""A member that was not told (H12): what its group's coordinator gave it, against what it has.

KIP-848's coordinator sends an assignment once, in the answer to a heartbeat. If that answer comes
after the client has given up on it (librdkafka waits one heartbeat interval, and then sends the
same heartbeat again, not a full one), the coordinator has nothing to add: the member never hears
of the partitions that it gained, which then belong to nobody, or of those that it should give up.
A group at rest stays so for ever. Seen with librdkafka 2.16 on machines under load.

So a member looks, now and then, at what its coordinator says: what it was given must be there, and
what it has must still be meant for it. That differs for a moment at each rebalance; if it differs
in one way for `SURE_S`, and whatever the client had queued by then has been taken out of it (a
rebalance may wait in that queue), the member leaves and joins anew.
"""

from __future__ import annotations

import random
import time
from collections.abc import Set
from concurrent.futures import Future
from typing import Any, Final, NamedTuple

import structlog
from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import AdminClient

from streams.kafka.configs import ADMIN, SILENT
from streams.record import Partition

LOOK_S: Final = 15.0
"""Seconds between two looks, on average; no two members keep the same step."""
DOUBT_S: Final = 2.0
"""Seconds between two looks while they differ."""
SURE_S: Final = 20.0
"""Seconds for which they must differ in one way; no heartbeat interval is as long (15 s)."""
ANSWER_S_MAX: Final = 5.0
"""A coordinator that is silent for longer is asked again at the next look."""

_log: Final = structlog.get_logger("agentlog.membership")


class Difference(NamedTuple):
    """What a member was not told. False if there is nothing."""

    gained: frozenset[Partition] = frozenset()
    lost: frozenset[Partition] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.gained or self.lost)


class Given(NamedTuple):
    """What a coordinator says of one member."""

    assigned: frozenset[Partition]
    """What it was told to have; what it is to give up stays in it until it has."""
    target: frozenset[Partition]
    """What it is to have as soon as others let go of it."""

    def beside(self, has: Set[Partition]) -> Difference:
        """What a member that has these was not told."""
        return Difference((self.assigned & self.target) - has, frozenset(has - self.target))


class Doubt:
    """For how long a member has not been told one and the same thing."""

    def __init__(self, sure_s: float, queue_bytes: int) -> None:
        """`queue_bytes`: what the client may have queued in front of a rebalance."""
        self._sure_s = sure_s
        self._queue_bytes = queue_bytes
        self._difference = Difference()
        self._since_s = 0.0
        self._queued = 0

    def __bool__(self) -> bool:
        """Whether there was a difference at the last look."""
        return bool(self._difference)

    def took(self, size: int) -> None:
        """So many bytes came out of the client's queue since."""
        self._queued -= size

    def drained(self) -> None:
        """The client's queue was found empty."""
        self._queued = 0

    def weigh(self, difference: Difference, now_s: float) -> bool:
        """Take a look into account; True: the member was not told, and will not be."""
        if difference != self._difference:
            self._difference, self._since_s = difference, now_s
            self._queued = self._queue_bytes
        return bool(self) and self._queued <= 0 and now_s - self._since_s >= self._sure_s


class Membership:
    """Looks after one consumer's membership, on the consumer's own thread; nothing here waits."""

    def __init__(self, bootstrap_servers: str, group: str, *, queue_bytes: int) -> None:
        """`group`: full name. `queue_bytes`: what the client queues at most."""
        self._group = group
        self._doubt = Doubt(SURE_S, queue_bytes)
        # Held: a collected client cancels its futures.
        self._admin = AdminClient({**ADMIN, "bootstrap.servers": bootstrap_servers}, logger=SILENT)
        self._asked: Future[Any] | None = None
        self._look_at_s = self._next()

    def took(self, size: int) -> None:
        """So many bytes of records came out of the client's queue."""
        self._doubt.took(size)

    def drained(self) -> None:
        """The client's queue was empty."""
        self._doubt.drained()

    def is_out_of_step(self, consumer: Consumer, has: Set[Partition]) -> bool:
        """Whether the member must leave and join again to hear what it has. Call it often."""
        if self._asked is None:
            if time.monotonic() >= self._look_at_s:
                self._ask()
            return False
        if not self._asked.done():
            return False
        given = self._given(self._asked, consumer.memberid())
        self._asked = None
        # Unknown: not a member at the moment, or the coordinator is away. The client sees to both.
        difference = Difference() if given is None else given.beside(has)
        sure = self._doubt.weigh(difference, time.monotonic())
        self._look_at_s = self._next()
        if not sure:
            return False
        _log.warning(
            "assignment_never_heard_of",
            group=self._group,
            gained=sorted(map(str, difference.gained)),
            lost=sorted(map(str, difference.lost)),
        )
        self._doubt.weigh(Difference(), time.monotonic())
        return True

    def _ask(self) -> None:
        try:
            self._asked = self._admin.describe_consumer_groups(
                [self._group], request_timeout=ANSWER_S_MAX
            )[self._group]
        except KafkaException:
            self._look_at_s = self._next()

    def _given(self, asked: Future[Any], member_id: str | None) -> Given | None:
        try:
            described = asked.result(0)
        except KafkaException:
            return None
        for member in described.members:
            if member.member_id == member_id and member.target_assignment is not None:
                return Given(_partitions(member.assignment), _partitions(member.target_assignment))
        return None

    def _next(self) -> float:
        if self._doubt:
            return time.monotonic() + DOUBT_S
        return time.monotonic() + LOOK_S * random.uniform(0.5, 1.5)


def _partitions(assignment: Any) -> frozenset[Partition]:
    parts = assignment.topic_partitions if assignment is not None else ()
    return frozenset(Partition(part.topic, part.partition) for part in parts)
