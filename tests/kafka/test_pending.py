"""The publisher's bound: room is given in order, never more than there is."""

from __future__ import annotations

import asyncio

from streams.kafka.pending import Pending


async def test_room_is_given_first_come_first_served() -> None:
    pending = Pending(2)
    pending.add(2)
    order: list[int] = []

    async def want(n: int) -> None:
        await pending.room()
        pending.add(1)
        order.append(n)

    tasks = [asyncio.create_task(want(n)) for n in range(4)]
    await _settle_down()
    assert order == []
    assert pending.full
    for expected in ([0], [0, 1], [0, 1, 2], [0, 1, 2, 3]):
        pending.settle(1)
        await _settle_down()
        assert order == expected
        assert pending.count == 2
    await asyncio.gather(*tasks)


async def test_who_gives_up_waiting_leaves_its_room_to_the_next() -> None:
    pending = Pending(1)
    pending.add(1)
    waiting = [asyncio.create_task(pending.room()) for _ in range(3)]
    await _settle_down()
    waiting[0].cancel()
    await _settle_down()
    pending.settle(1)
    waiting[1].cancel()  # it has just been given room
    await _settle_down()
    assert [task.cancelled() for task in waiting] == [True, True, False]
    assert waiting[2].done()


async def test_drained_waits_for_everything_but_not_for_ever() -> None:
    pending = Pending(10)
    await pending.drained(0)
    pending.add(2)
    draining = asyncio.create_task(pending.drained(60))
    await _settle_down()
    pending.settle(1)
    await _settle_down()
    assert not draining.done()
    pending.settle(1)
    await draining
    pending.add(1)
    await pending.drained(0.01)
    assert pending.count == 1


async def test_closing_lets_go_all_who_wait() -> None:
    pending = Pending(1)
    pending.add(1)
    waiting = [asyncio.create_task(pending.room()) for _ in range(3)]
    await _settle_down()
    pending.close()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    assert not pending.full


async def _settle_down() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
