"""Virtual time: it jumps where nothing can run, stands where something can, and says when stuck."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from consumers.testing.virtual_time import LoopClock, Stuck, run, virtual_time


def test_waiting_costs_nothing_and_timers_keep_their_order() -> None:
    """A day of sleeps and timeouts ends at once, at its exact times."""

    async def main() -> list[tuple[str, float]]:
        loop = asyncio.get_running_loop()
        seen: list[tuple[str, float]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append((name, loop.time()))

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(10):
                await asyncio.gather(sleeper("late", 3600), sleeper("soon", 0.25))
        await asyncio.gather(sleeper("b", 7200), sleeper("a", 3600))
        return seen

    began = time.monotonic()
    assert run(main()) == [("soon", 0.25), ("a", 3610.0), ("b", 7210.0)]
    assert time.monotonic() - began < 5


def test_the_clock_follows_the_loop() -> None:
    async def main() -> tuple[int, int]:
        clock = LoopClock(epoch_us=1_000_000)
        before = clock.now_us()
        await asyncio.sleep(1.5)
        return before, clock.now_us()

    assert run(main()) == (1_000_000, 2_500_000)


def test_where_nothing_can_ever_happen_it_says_who_waits_where() -> None:
    """Instead of hanging."""

    async def waits_for_nobody() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.create_task(waits_for_nobody(), name="lonely")

    with pytest.raises(Stuck, match=r"lonely at test_virtual_time.py:\d+ waits_for_nobody"):
        run(main())


def test_where_only_timers_go_on_it_ends_too() -> None:
    """A worker ticks for ever: a test that waits for what never comes must not."""

    async def ticks() -> None:
        while True:  # noqa: ASYNC110 - that is the point
            await asyncio.sleep(1)

    async def main() -> None:
        ticking = asyncio.create_task(ticks())
        await asyncio.Event().wait()
        await ticking

    with pytest.raises(Stuck, match="100 s of virtual time"):
        run(main(), virtual_s_max=100)


def test_a_thread_is_waited_for_in_real_time() -> None:
    """The next timer does not overtake it."""

    async def main() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        release = threading.Event()
        loop.call_soon(release.set)
        async with asyncio.timeout(3600):
            await asyncio.to_thread(release.wait)
            found = await asyncio.to_thread(lambda: "done")
        return found, loop.time()

    found, now_s = run(main())
    assert found == "done"
    assert now_s < 60


def test_a_socket_is_waited_for_in_real_time() -> None:
    """What comes over it is not declared late by a clock that jumps."""

    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        timer = threading.Timer(0.05, theirs.sendall, [b"hello\n"])
        timer.start()
        async with asyncio.timeout(3600):
            line = await reader.readline()
        timer.join()
        writer.close()
        await writer.wait_closed()
        theirs.close()
        return line

    assert run(main()) == b"hello\n"


@virtual_time
async def test_a_decorated_test_runs_in_virtual_time(tmp_path: object) -> None:
    """And gets its fixtures."""
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() == 3600
    assert tmp_path
