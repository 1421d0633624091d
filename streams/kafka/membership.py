"""A member that was not told (H12): what its group's coordinator gave it, against what it has.

KIP-848's coordinator sends an assignment once, in the answer to a heartbeat. If that answer comes
after the client has given up on it (librdkafka waits one heartbeat interval, and then sends the
same heartbeat again, not a full one), the coordinator has nothing to add: the member never hears
of the partitions that it gained, which then belong to nobody, or of those that it should give up.
A group at rest stays so for ever. Seen with librdkafka 2.16 on machines under load.

The client says in its log that a heartbeat timed out. From then on the member looks at what its
coordinator says: what it was given must be there, and what it has must still be meant for it. If
that differs in one way for `SURE_S`, and whatever the client had queued by then has been taken out
of it (a rebalance may wait in that queue), the member leaves and joins anew. Once nothing differs
it looks no more, until the next heartbeat that times out.

It looks from a process of its own (`coordinator_view`): librdkafka aborts the process whose admin
client loses its connection to a coordinator while it asks one (issue 4605).
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Set
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from confluent_kafka import Consumer

from streams.kafka.configs import SILENT
from streams.kafka.coordinator_view import Given
from streams.record import Partition

TIMED_OUT: Final = "Timed out ConsumerGroupHeartbeatRequest"
"""How the client's log says it."""
LOOK_S: Final = 5.0
"""Seconds between two looks, and from the heartbeat that timed out to the first."""
SURE_S: Final = 20.0
"""Seconds for which they must differ in one way; no heartbeat interval is as long (15 s)."""
ANSWER_S_MAX: Final = 20.0
"""A look that takes longer is given up, and tried again."""

_log: Final = structlog.get_logger("agentlog.membership")


class Difference(NamedTuple):
    """What a member was not told. False if there is nothing."""

    gained: frozenset[Partition] = frozenset()
    lost: frozenset[Partition] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.gained or self.lost)


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
    """Looks after one consumer's membership, on the consumer's own thread; nothing here waits.

    It is that consumer's `logger`, too: so it hears of heartbeats that timed out.
    """

    def __init__(self, bootstrap_servers: str, group: str, *, queue_bytes: int) -> None:
        """`group`: full name. `queue_bytes`: what the client queues at most."""
        self._bootstrap_servers = bootstrap_servers
        self._group = group
        self._doubt = Doubt(SURE_S, queue_bytes)
        self._asked: subprocess.Popen[bytes] | None = None
        self._asked_s = 0.0
        self._timed_out_s = 0.0
        """When the last heartbeat did."""
        self._look_at_s: float | None = None
        """When to look; None: nothing was missed."""

    def log(self, level: int, text: str, *values: Any) -> None:
        """What the client has to say."""
        SILENT.log(level, text, *values)
        if any(TIMED_OUT in str(one) for one in values):
            self._timed_out_s = time.monotonic()
            self._look_at_s = self._look_at_s or self._timed_out_s + LOOK_S

    def took(self, size: int) -> None:
        """So many bytes of records came out of the client's queue."""
        self._doubt.took(size)

    def drained(self) -> None:
        """The client's queue was empty."""
        self._doubt.drained()

    def is_out_of_step(self, consumer: Consumer, has: Set[Partition]) -> bool:
        """Whether the member must leave and join again to hear what it has. Call it often."""
        if self._look_at_s is None:
            return False
        now_s = time.monotonic()
        if self._asked is None:
            if now_s >= self._look_at_s:
                self._ask(consumer.memberid(), now_s)
            return False
        if self._asked.poll() is None and now_s < self._asked_s + ANSWER_S_MAX:
            return False
        given = self._answer()
        # Unknown: not a member at the moment, or the coordinator is away. The client sees to both.
        difference = Difference() if given is None else missed(given, has)
        sure = self._doubt.weigh(difference, now_s)
        again = given is None or bool(self._doubt) or self._timed_out_s >= self._asked_s
        self._look_at_s = now_s + LOOK_S if again else None
        if sure:
            _log.warning(
                "assignment_never_heard_of",
                group=self._group,
                gained=sorted(map(str, difference.gained)),
                lost=sorted(map(str, difference.lost)),
            )
            self._doubt.weigh(Difference(), now_s)
        return sure

    def close(self) -> None:
        """Look no more."""
        if self._asked is not None:
            self._answer()
        self._look_at_s = None

    def _ask(self, member_id: str | None, now_s: float) -> None:
        command = [sys.executable, "-m", "streams.kafka.coordinator_view"]
        with contextlib.suppress(OSError):  # no process to be had: at the next look
            self._asked = subprocess.Popen(  # noqa: S603  # our own words
                [*command, self._bootstrap_servers, self._group, member_id or ""],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        self._asked_s = now_s
        self._look_at_s = now_s + LOOK_S

    def _answer(self) -> Given | None:
        """What was found by now; None if nothing was."""
        asked, self._asked = self._asked, None
        assert asked is not None
        asked.kill()  # that has ended, or takes too long
        out, _ = asked.communicate()
        if asked.returncode != 0:
            return None
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(out, type=Given)
        return None


def missed(given: Given, has: Set[Partition]) -> Difference:
    """What a member that has these was not told."""
    return Difference((given.assigned & given.target) - has, frozenset(has - given.target))
