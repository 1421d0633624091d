"""Consumer groups by KIP-848: the broker assigns, members follow, epochs say how far they are.

Rules
-----
1. Whatever changes who should have what raises the group's epoch and makes a new target.
2. A member moves to the target in two steps. First it gives up what is not its own any more, and
   keeps its epoch until a heartbeat shows that it has. Then it takes the target's epoch, and with
   it what nobody else holds. What others still hold follows, in the same epoch, once they let go.
3. Each partition that a member gets carries the epoch in which it got it (KIP-1251).
4. A member that is silent for the session timeout, or does not give up for the rebalance timeout,
   is no member any more.
5. Positions may be committed by a member, under its epoch, or under an older one for partitions
   that it has had since then. Kafka asks nothing more of a current epoch, not even whether the
   partition is the member's: that hole is here too (H3).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from typing import Final

import msgspec

from streams.memory.assignor import assign
from streams.memory.failures import CallFailed, Failure
from streams.record import Partition

REBALANCE_TIMEOUT_MS: Final = 300_000
"""How long a member may take to give up what it must (`max.poll.interval.ms`)."""


class GroupMetadata(msgspec.Struct, frozen=True):
    """What a commit of positions proves its right with. An empty member id proves nothing (H2)."""

    group: str
    member_id: str = ""
    epoch: int = -1


class Heartbeat(msgspec.Struct, frozen=True):
    """The broker's answer: the member's epoch, and what it should own now."""

    epoch: int
    assigned: frozenset[Partition]


class _Member:
    __slots__ = ("assigned", "epoch", "heard_at_ms", "revoking", "revoking_since_ms", "topics")

    def __init__(self, topics: Collection[str], now_ms: int) -> None:
        self.topics = frozenset(topics)
        self.epoch = 0
        self.assigned: dict[Partition, int] = {}
        """With the epoch in which each was assigned."""
        self.revoking: dict[Partition, int] = {}
        """Not its own any more, but not shown to be given up yet; with the same epochs."""
        self.revoking_since_ms = 0
        self.heard_at_ms = now_ms


class Group:
    """One group. `partitions_of` tells a topic's partitions."""

    def __init__(self, name: str, partitions_of: Callable[[str], Iterable[Partition]]) -> None:
        self.name = name
        self.epoch = 0
        self._partitions_of = partitions_of
        self._members: dict[str, _Member] = {}
        self._target: dict[str, set[Partition]] = {}

    @property
    def members(self) -> tuple[str, ...]:
        """Member ids, in the order they joined."""
        return tuple(self._members)

    def assignments(self) -> dict[str, frozenset[Partition]]:
        """What each member has, as far as the broker has told it."""
        return {name: frozenset(member.assigned) for name, member in self._members.items()}

    def join(self, member_id: str, topics: Collection[str], now_ms: int) -> Heartbeat:
        """A member comes, or comes back with nothing; what it may have at once."""
        self._members.pop(member_id, None)
        self._members[member_id] = _Member(topics, now_ms)
        self.reassign()
        return self.heartbeat(member_id, 0, frozenset(), now_ms)

    def leave(self, member_id: str) -> None:
        """A member goes; unknown ones are gone already."""
        if self._members.pop(member_id, None) is not None:
            self.reassign()

    def heartbeat(
        self, member_id: str, epoch: int, owned: Collection[Partition], now_ms: int
    ) -> Heartbeat:
        """A member says what it owns; the answer is what it should own.

        Raises `CallFailed`: `UNKNOWN_MEMBER_ID` if it was removed, `FENCED_MEMBER_EPOCH` for an
        epoch that it cannot have. Either way it owns nothing any more, and may join anew.
        """
        member = self._member(member_id)
        if epoch > member.epoch:
            raise CallFailed(
                Failure.FENCED_MEMBER_EPOCH,
                f"{member_id} of {self.name} is at epoch {member.epoch}, not at {epoch}",
            )
        member.heard_at_ms = now_ms
        if not member.revoking.keys() & set(owned):
            member.revoking.clear()
            if member.epoch != self.epoch or self._target[member_id] != member.assigned.keys():
                self._move_on(member_id, member, owned, now_ms)
        return Heartbeat(member.epoch, frozenset(member.assigned))

    def expire(self, now_ms: int, session_timeout_ms: int) -> list[str]:
        """Remove members that were silent or slow for too long; their ids."""
        gone = [
            name
            for name, member in self._members.items()
            if now_ms - member.heard_at_ms >= session_timeout_ms
            or (member.revoking and now_ms - member.revoking_since_ms >= REBALANCE_TIMEOUT_MS)
        ]
        for name in gone:
            self.leave(name)
        return gone

    def reassign(self) -> None:
        """Make a new target that moves as little as can be."""
        self._retarget(self._target, self._partitions())

    def shuffle(self, rng: random.Random) -> None:
        """Make a new target that owes nothing to the old one."""
        partitions = self._partitions()
        rng.shuffle(partitions)
        self._retarget({}, partitions)

    def require_committer(self, metadata: GroupMetadata, sources: Iterable[Partition]) -> None:
        """Raise `CallFailed` unless positions of these may be committed with this metadata.

        `UNKNOWN_MEMBER_ID` or `STALE_MEMBER_EPOCH`.
        """
        if not metadata.member_id and metadata.epoch < 0:
            return
        member = self._member(metadata.member_id)
        if metadata.epoch == member.epoch:
            return
        if metadata.epoch > member.epoch:
            raise self._stale(metadata, f"the member is at {member.epoch}")
        for source in sources:
            since = member.assigned.get(source, member.revoking.get(source))
            if since is None:
                raise self._stale(metadata, f"{source} is not the member's any more")
            if metadata.epoch < since:
                raise self._stale(metadata, f"{source} is the member's since {since}")

    def _move_on(
        self, member_id: str, member: _Member, owned: Collection[Partition], now_ms: int
    ) -> None:
        """One step towards the target: give up first, then the epoch and what is free."""
        target = self._target[member_id]
        gone = {one: since for one, since in member.assigned.items() if one not in target}
        for one in gone:
            del member.assigned[one]
        if gone.keys() & set(owned):
            member.revoking, member.revoking_since_ms = gone, now_ms
            return
        member.epoch = self.epoch
        held = self._held_by_others(member_id)
        member.assigned |= {
            one: self.epoch for one in sorted(target - held) if one not in member.assigned
        }

    def _held_by_others(self, member_id: str) -> set[Partition]:
        return {
            one
            for name, member in self._members.items()
            if name != member_id
            for one in (*member.assigned, *member.revoking)
        }

    def _partitions(self) -> list[Partition]:
        topics = sorted({topic for member in self._members.values() for topic in member.topics})
        return [one for topic in topics for one in self._partitions_of(topic)]

    def _retarget(self, before: dict[str, set[Partition]], partitions: Iterable[Partition]) -> None:
        self.epoch += 1
        wishes = {name: member.topics for name, member in self._members.items()}
        self._target = assign(wishes, partitions, before)

    def _member(self, member_id: str) -> _Member:
        member = self._members.get(member_id)
        if member is None:
            raise CallFailed(
                Failure.UNKNOWN_MEMBER_ID, f"{self.name} has no member {member_id or '(none)'}"
            )
        return member

    def _stale(self, metadata: GroupMetadata, problem: str) -> CallFailed:
        return CallFailed(
            Failure.STALE_MEMBER_EPOCH,
            f"{metadata.member_id} of {self.name} commits as of epoch {metadata.epoch}, {problem}",
        )
