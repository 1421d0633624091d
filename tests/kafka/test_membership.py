"""H12: whoever was not told what the coordinator gave it, or took from it, joins again."""

from __future__ import annotations

import asyncio
import itertools
import operator
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from consumers.following import Follower, Move
from streams.cuts import Cut
from streams.kafka import membership
from streams.kafka.coordinator_view import Given
from streams.kafka.membership import Difference, Doubt, missed
from streams.record import Partition, Record
from tests.contracts.members import DEADLINE_S, KafkaBench, Member, join, partitions, until
from tests.faults.frames import CONSUMER_GROUP_HEARTBEAT, HEARTBEAT_ASSIGNS_BYTES
from tests.faults.proxy import Proxy
from tests.faults.test_proxy import brokers

PARTITIONS: Final = 6

SURE_S: Final = 10.0
QUEUE_BYTES: Final = 1_000

ONE, TWO, THREE = (frozenset({Partition("t", index)}) for index in range(3))
NOTHING: Final[frozenset[Partition]] = frozenset()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Members that look often, and are soon sure."""
    monkeypatch.setattr(membership, "LOOK_S", 0.2)
    monkeypatch.setattr(membership, "SURE_S", 1.0)


@pytest.fixture
async def bench(kafka: str, namespace: str) -> AsyncIterator[KafkaBench]:
    """A topic of six partitions."""
    found = KafkaBench(kafka, namespace, PARTITIONS)
    yield found
    for member in found.members:
        await member.stop()
    found.close()


def unheard(logs: Sequence[Any]) -> list[tuple[int, int]]:
    """How many partitions members had gained and lost without hearing of it."""
    found = [one for one in logs if one["event"] == "assignment_never_heard_of"]
    return [(len(one["gained"]), len(one["lost"])) for one in found]


@pytest.mark.usefixtures("hasty")
async def test_h12_a_member_that_was_not_told_what_it_gained_joins_again(bench: KafkaBench) -> None:
    """One member gives up its share at once, another late: that comes in an answer of its own.

    The answer is lost, and the client asks for it no more: the partition would be nobody's.
    """
    quick, slow = join(bench), join(bench)
    for one in (quick, slow):
        await one.owns(3)
    slow.lets_go = False
    async with Proxy(await asyncio.to_thread(brokers, bench.servers)) as proxy:
        bench.servers = proxy.servers
        newcomer = join(bench)
        await until(lambda: len(newcomer.assigned) == 1 and bool(slow.revoking), "its first")
        withheld = proxy.withhold(CONSUMER_GROUP_HEARTBEAT, HEARTBEAT_ASSIGNS_BYTES)
        with capture_logs() as logs:
            for _, done in slow.revoking:
                done()
            await asyncio.wait_for(withheld.caught.wait(), DEADLINE_S)
            await newcomer.owns(2)
        assert unheard(logs) == [(1, 0)]
        for one in (quick, slow):
            await one.owns(2)
        await newcomer.stop()


@pytest.mark.usefixtures("hasty")
async def test_h12_a_member_that_was_not_told_what_it_lost_joins_again(bench: KafkaBench) -> None:
    """It would keep its partitions, and whoever should have them waits for it."""
    async with Proxy(await asyncio.to_thread(brokers, bench.servers)) as proxy:
        bench.servers, real = proxy.servers, bench.servers
        owner = join(bench)
        await owner.owns(PARTITIONS)
        withheld = proxy.withhold(CONSUMER_GROUP_HEARTBEAT, HEARTBEAT_ASSIGNS_BYTES)
        bench.servers = real
        with capture_logs() as logs:
            newcomer = join(bench)
            await asyncio.wait_for(withheld.caught.wait(), DEADLINE_S)
            await newcomer.owns(3)
        assert unheard(logs) == [(0, 3)]
        await owner.owns(3)
        await owner.stop()


class Forgetful:
    """A keeper that keeps nothing but which partitions are its own."""

    is_full = False

    def __init__(self) -> None:
        self.own: set[Partition] = set()

    def load(self, source: Partition, log: Cut) -> int | None:
        del log
        self.own.add(source)
        return None

    def fold(self, source: Partition, records: Sequence[Record]) -> None: ...

    def store(self, moves: Sequence[Move], log: Cut) -> bool:
        del moves, log
        return True

    def forget(self, source: Partition) -> None:
        self.own.remove(source)


@pytest.mark.usefixtures("hasty")
async def test_h12_a_follower_that_was_not_told_joins_again(bench: KafkaBench) -> None:
    """Projections and read models share partitions as workers do."""
    keeper, stop = Forgetful(), threading.Event()
    async with Proxy(await asyncio.to_thread(brokers, bench.servers)) as proxy:
        follower = Follower(
            keeper,
            name="follower",
            group=bench.group,
            topics=[bench.topic],
            bootstrap_servers=proxy.servers,
        )
        following = asyncio.create_task(asyncio.to_thread(follower.run, stop))
        await until(lambda: len(keeper.own) == PARTITIONS, "all of them")
        withheld = proxy.withhold(CONSUMER_GROUP_HEARTBEAT, HEARTBEAT_ASSIGNS_BYTES)
        with capture_logs() as logs:
            other: Member = join(bench)
            await asyncio.wait_for(withheld.caught.wait(), DEADLINE_S)
            await other.owns(3)
        assert unheard(logs) == [(0, 3)]
        await until(lambda: len(keeper.own) == 3, "its share")
        assert keeper.own | other.assigned.keys() == set(partitions(bench, PARTITIONS))
        stop.set()
        await asyncio.wait_for(following, DEADLINE_S)


def test_a_rebalance_on_its_way_is_no_doubt() -> None:
    """From look to look something else is not told, however long that goes on."""
    doubt = Doubt(SURE_S, QUEUE_BYTES)
    differences = [Difference(gained=TWO), Difference(gained=THREE), Difference(lost=TWO)]
    for look in range(30):
        assert not doubt.weigh(differences[look % 3], look * SURE_S * 0.9)
        doubt.drained()
        assert doubt
    assert not doubt.weigh(Difference(), 1_000)
    assert not doubt


def test_what_is_queued_before_the_look_must_be_out_first() -> None:
    """A rebalance may wait behind it; what a busy member takes out counts as well."""
    doubt = Doubt(SURE_S, QUEUE_BYTES)
    doubt.drained()
    difference = Difference(gained=ONE)
    assert not doubt.weigh(difference, 0)
    assert not doubt.weigh(difference, 2 * SURE_S)
    doubt.took(QUEUE_BYTES - 1)
    assert not doubt.weigh(difference, 3 * SURE_S)
    doubt.took(1)
    assert doubt.weigh(difference, 4 * SURE_S)


def test_who_waits_for_others_has_been_told_all_there_is() -> None:
    """A partition that is meant for a member, and that another still holds, is no difference."""
    assert not missed(Given(assigned=ONE, target=ONE | TWO), ONE)
    assert missed(Given(ONE | TWO, ONE | TWO), ONE) == Difference(gained=TWO)
    assert missed(Given(ONE | TWO, ONE), ONE | TWO) == Difference(lost=TWO)
    assert not missed(Given(ONE | TWO, ONE), ONE)


def first_of_run(looks: Sequence[tuple[float, Difference]]) -> float:
    """When the difference of the last look was seen first, without another since."""
    runs = [list(run) for _, run in itertools.groupby(looks, key=operator.itemgetter(1))]
    return runs[-1][0][0]


@given(
    st.lists(
        st.tuples(
            st.builds(Difference, st.sampled_from([ONE, TWO, NOTHING]), st.just(NOTHING)),
            st.floats(0, SURE_S),
        )
    )
)
def test_only_what_lasts_is_believed(looks: list[tuple[Difference, float]]) -> None:
    """True exactly when the last looks, over `SURE_S` or more, all found the same difference."""
    doubt = Doubt(SURE_S, QUEUE_BYTES)
    now_s = 0.0
    since: list[tuple[float, Difference]] = []
    for difference, later_s in looks:
        now_s += later_s
        since.append((now_s, difference))
        lasted = now_s - first_of_run(since) >= SURE_S
        assert doubt.weigh(difference, now_s) is (bool(difference) and lasted)
        doubt.drained()
