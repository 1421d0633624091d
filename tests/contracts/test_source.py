"""The contract of `Source`: what a worker may rely on, wherever its records come from."""

from __future__ import annotations

import asyncio

from consumers.marks import Mark
from consumers.worker.ports import Committed
from tests.contracts.members import (
    PARTITIONS,
    Bench,
    Member,
    bench,
    commit,
    join,
    partitions,
    until,
)

__all__ = ["bench"]

SETTLE_S = 0.5
"""How long something that must not happen is given to happen."""
ANSWER_S_MAX = 10.0
"""Longer than any commit takes that nothing holds up."""


def numbered(start: int, stop: int) -> list[bytes]:
    return [b"%d" % n for n in range(start, stop)]


async def test_a_member_alone_gets_every_partition_from_its_beginning(bench: Bench) -> None:
    """Each under a token of its own, without a mark; records in order."""
    for source in partitions(bench):
        bench.append(source, *numbered(0, 20))
    member = join(bench)
    await member.owns(PARTITIONS)
    assert member.assigned.keys() == set(partitions(bench))
    assert {(one.position, one.mark) for one in member.assigned.values()} == {(0, "")}
    assert len(set(member.tokens)) == PARTITIONS
    for source in partitions(bench):
        await until(lambda: len(member.of(source)) == 20, "records")  # noqa: B023 - awaited here
        assert [one.position for one in member.of(source)] == list(range(20))
        assert member.values(source) == numbered(0, 20)
    bench.append(partitions(bench)[0], b"later")
    await until(lambda: member.values(partitions(bench)[0])[-1] == b"later", "the later one")
    await member.source.stop()
    assert member.failures == []


async def test_what_nobody_sees_is_told_as_read(bench: Bench) -> None:
    """The position passes aborted records and markers, although nothing arrives."""
    source = partitions(bench)[0]
    bench.append(source, b"seen")
    bench.abort(source, b"never", b"never")
    member = join(bench)
    await member.owns(PARTITIONS)
    await until(lambda: member.read_of(source) == 4, "the position behind the marker")
    assert member.values(source) == [b"seen"]
    await member.source.stop()


async def test_positions_and_marks_are_where_the_next_owner_begins(bench: Bench) -> None:
    """And some way below is read again, as history."""
    first, other = partitions(bench)[:2]
    bench.append(first, *numbered(0, 10))
    member = join(bench)
    await member.owns(PARTITIONS)
    mark = Mark(7, finished=((8, 9),), clean=False)
    await commit(bench, member, {first: mark})
    await member.source.stop()

    member = join(bench, read_back=3)
    await member.owns(PARTITIONS)
    assigned = member.assigned[first]
    assert (assigned.position, Mark.decode(assigned.position, assigned.mark)) == (7, mark)
    await until(lambda: len(member.of(first)) >= 6, "records")
    assert [one.position for one in member.of(first)] == [4, 5, 6, 7, 8, 9]
    assert member.assigned[other].position == 0
    await member.source.stop()


async def test_positions_are_committed_without_a_transaction(bench: Bench) -> None:
    """With their marks; what is not the member's is left out."""
    member = join(bench)
    await member.owns(PARTITIONS)
    first, mark = partitions(bench)[0], Mark(7, finished=((8, 9),), clean=False)
    never = max(member.tokens) + 5
    token = member.assigned[first].token
    assert await member.source.commit({token: mark, never: Mark(3)}) is Committed.YES
    assert bench.committed(partitions(bench)) == {first: (7, mark.encode())}
    await member.source.stop()


async def test_what_came_back_commits_nothing_under_its_old_assignment(bench: Bench) -> None:
    """Its records are delivered again from the committed position on: that must not jump."""
    source = partitions(bench)[0]
    bench.append(source, *numbered(0, 5))
    member = join(bench)
    await member.owns(PARTITIONS)
    old = member.assigned[source].token
    member.source.reload([source])
    await until(lambda: member.assigned[source].token != old, "a new token")
    assert await member.source.commit({old: Mark(4)}) is Committed.YES
    assert bench.committed([source]) == {}
    assert await member.source.commit({member.assigned[source].token: Mark(2)}) is Committed.YES
    assert bench.committed([source]) == {source: (2, Mark(2).encode())}
    await member.source.stop()


async def test_a_partition_is_handed_over_only_when_its_owner_lets_go(bench: Bench) -> None:
    """The owner is asked, the newcomer waits, and then begins where the owner committed."""
    for source in partitions(bench):
        bench.append(source, *numbered(0, 3))
    first = join(bench)
    await first.owns(PARTITIONS)
    await commit(bench, first, {one: Mark(2) for one in partitions(bench)})
    first.lets_go = False
    second = join(bench)
    await until(lambda: bool(first.revoking), "the owner is asked")
    going, let_go = first.revoking[0]
    await asyncio.sleep(SETTLE_S)
    assert second.assigned == {}
    assert first.lost == []
    first.lets_go = True
    let_go()
    await second.owns(PARTITIONS // 2)
    assert set(first.lost) == set(going) == second.assigned.keys()
    assert {one.position for one in second.assigned.values()} == {2}
    assert first.assigned.keys() == set(partitions(bench)) - set(going)
    for source in going:
        await until(lambda: second.values(source) == [b"2"], "its records")  # noqa: B023
    await first.source.stop()
    await second.owns(PARTITIONS)
    await second.source.stop()


async def test_positions_may_be_committed_while_a_partition_is_given_up(bench: Bench) -> None:
    """That is what the owner is given the time for: the new one begins behind them."""
    first = join(bench)
    await first.owns(PARTITIONS)
    first.lets_go = False
    second = join(bench)
    await until(lambda: bool(first.revoking), "the owner is asked")
    going, let_go = first.revoking[0]
    async with asyncio.timeout(ANSWER_S_MAX):
        marks = {first.assigned[one].token: Mark(2) for one in going}
        assert await first.source.commit(marks) is Committed.YES
    first.lets_go = True
    let_go()
    await second.owns(PARTITIONS // 2)
    assert {one.position for one in second.assigned.values()} == {2}
    await first.source.stop()
    await second.source.stop()


async def test_h05_positions_of_an_open_transaction_are_awaited(bench: Bench) -> None:
    """A new owner does not begin while the last one's transaction may still commit."""
    source = partitions(bench)[0]
    first = join(bench)
    await first.owns(PARTITIONS)
    bench.hold_positions(first.assigned[source].metadata, {source: 5})
    await first.source.stop()
    second = join(bench)
    await asyncio.sleep(SETTLE_S)
    assert source not in second.assigned
    bench.let_go_positions()
    await second.owns(PARTITIONS)
    assert second.assigned[source].position == 0
    await second.source.stop()


async def test_reloading_goes_back_to_the_committed_position(bench: Bench) -> None:
    """Under a new token; other partitions keep theirs."""
    first, other = partitions(bench)[:2]
    bench.append(first, *numbered(0, 5))
    member = join(bench)
    await member.owns(PARTITIONS)
    await until(lambda: len(member.of(first)) == 5, "records")
    await commit(bench, member, {first: Mark(3)})
    tokens = {one: member.assigned[one].token for one in (first, other)}
    member.source.reload([first])
    await until(lambda: member.assigned[first].token != tokens[first], "a new token")
    assert member.assigned[first].position == 3
    await until(lambda: member.values(first) == [b"3", b"4"], "the records again")
    assert member.assigned[other].token == tokens[other]
    await member.source.stop()


async def test_a_partition_that_is_held_is_read_no_further(bench: Bench) -> None:
    """The others are; and it goes on, without a gap, when it is not held any more."""
    held, other = partitions(bench)[:2]
    member = join(bench)
    await member.owns(PARTITIONS)
    bench.append(held, b"0")
    await until(lambda: member.values(held) == [b"0"], "the first record")
    member.source.hold(frozenset({held}))
    await asyncio.sleep(SETTLE_S)
    bench.append(held, *numbered(1, 4))
    bench.append(other, b"free")
    await until(lambda: member.values(other) == [b"free"], "the other partition")
    await asyncio.sleep(SETTLE_S)
    assert member.values(held) == [b"0"]
    member.source.hold(frozenset())
    await until(lambda: member.values(held) == numbered(0, 4), "the rest")
    await member.source.stop()


async def test_no_more_is_delivered_than_the_window_has_room_for(bench: Bench) -> None:
    """And delivery goes on when half of it is free again."""
    source = partitions(bench)[0]
    bench.append(source, *numbered(0, 50))
    member = join(bench, count_max=10)
    await member.owns(PARTITIONS)
    await until(lambda: len(member.of(source)) == 10, "a full window")
    await asyncio.sleep(SETTLE_S)
    assert len(member.of(source)) == 10
    for _ in range(40):
        member.window.release(1, 0)
    await until(lambda: len(member.of(source)) > 10, "more")
    member.window.release(10, 0)
    await until(lambda: member.values(source) == numbered(0, 50), "the rest, in order")
    await member.source.stop()


async def test_stopping_gives_up_in_order_and_leaves(bench: Bench) -> None:
    """The listener is asked first; nothing is delivered afterwards, and others take over."""
    source = partitions(bench)[0]
    member = join(bench)
    await member.owns(PARTITIONS)
    member.lets_go = False
    stopping = asyncio.create_task(member.source.stop())
    await until(lambda: bool(member.revoking), "it is asked")
    assert not stopping.done()
    for sources, done in member.revoking:
        assert set(sources) == set(partitions(bench))
        done()
    await stopping
    assert set(member.lost) == set(partitions(bench))
    bench.append(source, b"late")
    successor: Member = join(bench)
    await successor.owns(PARTITIONS)
    await until(lambda: successor.values(source) == [b"late"], "the successor reads")
    assert member.records == {}
    await successor.source.stop()
