"""The publisher's bound: room is given in order, never more than there is."""

from __future__ import annotations

import asyncio

from streams.kafka.pending import Pending


async def test_room_is_given_first_come_first_served() -> None:
    pending = Pending(2, 1000)
    pending.add(2, 2)
    order: list[int] = []

    async def want(n: int) -> None:
        await pending.room()
        pending.add(1, 1)
        order.append(n)

    tasks = [asyncio.create_task(want(n)) for n in range(4)]
    await _settle_down()
    assert order == []
    assert pending.full
    for expected in ([0], [0, 1], [0, 1, 2], [0, 1, 2, 3]):
        pending.settle(1, 1)
        await _settle_down()
        assert order == expected
        assert pending.count == 2
    await asyncio.gather(*tasks)


async def test_who_gives_up_waiting_leaves_its_room_to_the_next() -> None:
    pending = Pending(1, 1000)
    pending.add(1, 1)
    waiting = [asyncio.create_task(pending.room()) for _ in range(3)]
    await _settle_down()
    waiting[0].cancel()
    await _settle_down()
    pending.settle(1, 1)
    waiting[1].cancel()  # it has just been given room
    await _settle_down()
    assert [task.cancelled() for task in waiting] == [True, True, False]
    assert waiting[2].done()


async def test_drained_waits_for_everything_but_not_for_ever() -> None:
    pending = Pending(10, 1000)
    await pending.drained(0)
    pending.add(2, 2)
    draining = asyncio.create_task(pending.drained(60))
    await _settle_down()
    pending.settle(1, 1)
    await _settle_down()
    assert not draining.done()
    pending.settle(1, 1)
    await draining
    pending.add(1, 1)
    await pending.drained(0.01)
    assert pending.count == 1


async def test_closing_lets_go_all_who_wait() -> None:
    pending = Pending(1, 1000)
    pending.add(1, 1)
    waiting = [asyncio.create_task(pending.room()) for _ in range(3)]
    await _settle_down()
    pending.close()
    async with asyncio.timeout(10):
        await asyncio.gather(*waiting)
    assert not pending.full


async def _settle_down() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_bytes_are_bounded_as_records_are() -> None:
    """A few large values fill it as many small ones do; settling them makes room."""
    pending = Pending(1000, 100)
    pending.add(1, 60)
    assert not pending.full
    pending.add(1, 60)
    assert pending.full
    waiting = asyncio.create_task(pending.room())
    done, _ = await asyncio.wait([waiting], timeout=0.05)
    assert not done
    pending.settle(1, 60)
    await asyncio.wait_for(waiting, 5)
    assert pending.count == 1
