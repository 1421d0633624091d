"""Groups in memory: members follow the target, epochs say how far, nothing is owned twice."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.memory.assignor import assign
from streams.memory.failures import CallFailed, Failure
from streams.memory.groups import REBALANCE_TIMEOUT_MS, Group, GroupMetadata
from streams.record import Partition

TOPIC = "ns.tasks"
ALL = [Partition(TOPIC, index) for index in range(8)]


def group() -> Group:
    return Group("ns.g", lambda topic: ALL if topic == TOPIC else [])


class Member:
    """A member that does as it is told, when it is told to."""

    def __init__(self, of: Group, name: str) -> None:
        self.group, self.name = of, name
        self.owned: set[Partition] = set()
        self.metadata: dict[Partition, GroupMetadata] = {}
        self.take(of.join(name, [TOPIC], 0).epoch, of.assignments()[name])

    def beat(self, now_ms: int = 0) -> None:
        answer = self.group.heartbeat(self.name, self.epoch, frozenset(self.owned), now_ms)
        self.take(answer.epoch, answer.assigned)

    def take(self, epoch: int, assigned: frozenset[Partition]) -> None:
        self.epoch = epoch
        new = assigned - self.owned
        self.owned = set(assigned)
        self.metadata |= {one: GroupMetadata("ns.g", self.name, epoch) for one in new}

    def may_commit(self, metadata: GroupMetadata, source: Partition) -> bool:
        try:
            self.group.require_committer(metadata, [source])
        except CallFailed as error:
            if error.failure not in {Failure.STALE_MEMBER_EPOCH, Failure.UNKNOWN_MEMBER_ID}:
                raise
            return False
        return True


def settle(*members: Member) -> None:
    for _ in range(4):
        for member in members:
            member.beat()


def test_a_member_alone_has_everything() -> None:
    assert Member(group(), "a").owned == set(ALL)


def test_a_partition_changes_hands_only_when_its_owner_has_let_go() -> None:
    """The newcomer waits; the owner keeps its epoch until it has shown what it owns now."""
    of = group()
    first = Member(of, "a")
    second = Member(of, "b")
    assert second.owned == set()
    before = first.epoch
    first.beat()
    assert (len(first.owned), first.epoch) == (4, before)
    second.beat()
    assert second.owned == set(), "the owner has heard of it, and not let go yet"
    first.beat()
    second.beat()
    assert first.epoch == second.epoch == of.epoch
    assert (len(second.owned), first.owned | second.owned) == (4, set(ALL))


def test_h03_metadata_is_worth_what_its_assignment_is() -> None:
    """An older epoch commits what stayed, not what went; the current one is asked no more."""
    of = group()
    first = Member(of, "a")
    old = first.metadata[ALL[0]]
    second = Member(of, "b")
    settle(first, second)
    stayed, went = min(first.owned), min(second.owned)
    assert first.may_commit(old, stayed)
    assert not first.may_commit(old, went)
    assert second.may_commit(second.metadata[went], went)
    fresh = GroupMetadata("ns.g", "a", first.epoch)
    assert first.may_commit(fresh, went), "Kafka's hole: equal epochs are asked no more"
    assert not first.may_commit(GroupMetadata("ns.g", "a", first.epoch + 1), stayed)
    assert not first.may_commit(GroupMetadata("ns.g", "stranger", 1), stayed)


def test_h02_metadata_without_a_member_is_asked_nothing() -> None:
    """What clients send that know of no groups: that is why they must not commit for one."""
    of = group()
    owner = Member(of, "a")
    assert owner.may_commit(GroupMetadata("ns.g"), ALL[0])


def test_what_is_being_given_up_may_still_be_committed() -> None:
    """Until the owner has shown that it let go."""
    of = group()
    first = Member(of, "a")
    old = first.metadata[ALL[0]]
    Member(of, "b")
    owned_before = set(first.owned)
    answer = of.heartbeat("a", first.epoch, frozenset(first.owned), 0)
    going = min(owned_before - answer.assigned)
    assert first.may_commit(old, going)
    of.heartbeat("a", answer.epoch, answer.assigned, 0)
    assert not first.may_commit(old, going)


def test_who_is_silent_or_slow_is_removed() -> None:
    """Silent for the session timeout, or holding on for the rebalance timeout."""
    of = group()
    first = Member(of, "a")
    second = Member(of, "b")
    second.beat(5_000)
    assert of.expire(6_000, 6_000) == ["a"]
    with pytest.raises(CallFailed) as caught:
        first.beat(6_000)
    assert caught.value.failure is Failure.UNKNOWN_MEMBER_ID
    second.beat(6_000)
    assert second.owned == set(ALL)
    Member(of, "c")
    of.heartbeat("b", second.epoch, frozenset(second.owned), 7_000)
    late_ms = 7_000 + REBALANCE_TIMEOUT_MS
    of.heartbeat("b", second.epoch, frozenset(second.owned), late_ms)
    of.heartbeat("c", 0, frozenset(), late_ms)
    assert of.expire(late_ms, 6_000) == ["b"]


@given(st.integers(0, 2**32), st.integers(5, 60))
def test_nothing_is_ever_owned_twice(seed: int, steps: int) -> None:
    """Members come, go, die and are shuffled; no two own a partition, and all settle in the end."""
    rng = random.Random(seed)
    of = group()
    members: dict[str, Member] = {}
    for n in range(steps):
        action = rng.choice(["join", "leave", "shuffle", "beat", "beat", "beat"])
        if action == "join" and len(members) < 5:
            members[f"m{n}"] = Member(of, f"m{n}")
        elif action == "leave" and members:
            of.leave(rng.choice(sorted(members)))
            members = {name: one for name, one in members.items() if name in of.members}
        elif action == "shuffle":
            of.shuffle(rng)
        elif members:
            members[rng.choice(sorted(members))].beat()
        owned = [one for member in members.values() for one in member.owned]
        assert len(owned) == len(set(owned))
    settle(*members.values())
    sizes = [len(member.owned) for member in members.values()]
    assert sum(sizes) == (len(ALL) if members else 0)
    assert max(sizes, default=0) - min(sizes, default=0) <= 1


@given(st.integers(1, 6), st.integers(1, 20))
def test_who_stays_keeps_what_it_can(members: int, partitions: int) -> None:
    """One more member takes from the others only what it needs."""
    every = [Partition("t", index) for index in range(partitions)]
    names = {f"m{n}": ("t",) for n in range(members)}
    before = assign(names, every, {})
    after = assign({**names, "new": ("t",)}, every, before)
    moved = sum(len(before[name] - after[name]) for name in names)
    assert moved == len(after["new"]) == partitions // (members + 1)


def test_topics_go_to_who_wants_them() -> None:
    every = [Partition(topic, index) for topic in ("t", "u") for index in range(4)]
    given_ = assign({"a": ("t",), "b": ("t", "u")}, every, {})
    assert {one.topic for one in given_["a"]} == {"t"}
    assert given_["a"] | given_["b"] == set(every)
