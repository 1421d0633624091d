"""One attempt of a record's handlers: what they publish, how they fail, what interrupts them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from consumers.app import App
from consumers.context import Context
from consumers.current_run import RunCell, current_run
from consumers.failure import Failure
from consumers.marks import Mark
from consumers.outbox import Outbox
from consumers.worker.assignment import Assignment, Delivery
from consumers.worker.handling import STACK_CHARS_MAX, HandlerTimedOut, Handling
from streams.errors import InvalidPayload
from streams.ports import SystemClock
from streams.topics import Namespace
from tests.consumers.worker.harness import CODEC, assign_task, status, until
from tests.consumers.worker.rig import SOURCE, record

Function = Callable[[Any, Mapping[str, Any]], Any]
TASK = assign_task(0, "k")


class Ward:
    """Handlers of one type, and attempts of them on one record."""

    def __init__(self, executor: ThreadPoolExecutor) -> None:
        self.app = App("fleet", topics=("tasks",))
        outbox = Outbox(CODEC, Namespace("ns"), SystemClock(), app_name="fleet")
        self.handling = Handling(outbox, executor)
        assignment = Assignment(1, SOURCE, Mark(0), "m", careful_max=1, wary_max=1, dedup_window=0)
        self.delivery = Delivery(record(0, TASK), assignment, 0, 100, duplicate=False, odd=False)
        self.cell = RunCell()

    def add(self, function: Function, **settings: Any) -> None:
        self.app.on("T", **settings)(function)

    async def attempt(self, *names: str) -> tuple[dict[str, int], list[Failure]]:
        """How many outputs each handler that ended well has, and the failures."""
        self.delivery.attempt += 1
        handlers = [one for one in self.app.handlers if not names or one.name in names]
        current_run.set(self.cell)
        payload = CODEC.decode(self.delivery.record.value).payload
        outputs, failures = await self.handling.attempt(
            handlers, self.delivery, TASK, payload, self.cell
        )
        return {name: len(found) for name, found in outputs.items()}, failures


@pytest.fixture
def ward() -> Iterator[Ward]:
    with ThreadPoolExecutor(2) as executor:
        yield Ward(executor)


async def publishes(ctx: Context, _payload: Mapping[str, Any]) -> None:
    await ctx.publish(status("a", "s"))
    await ctx.publish(status("b", "s"))


async def fails(ctx: Context, _payload: Mapping[str, Any]) -> None:
    await ctx.publish(status("never", "s"))
    raise OSError("no disk")


async def test_outputs_are_those_of_the_handlers_that_ended_well(ward: Ward) -> None:
    """In order of registration; what a handler published before it failed is none."""
    ward.add(publishes, name="last to be named first")
    ward.add(fails)
    ward.add(publishes, name="another")
    outputs, failures = await ward.attempt()
    assert list(outputs.items()) == [("last to be named first", 2), ("another", 2)]
    assert [(one.handler, one.name, one.message) for one in failures] == [
        ("fails", "OSError", "no disk")
    ]
    assert "in fails" in failures[0].stack
    assert failures[0].failed_at_ms > 0


async def test_s3_07_handlers_run_side_by_side_and_all_end_before_any_counts(ward: Ward) -> None:
    """Each in a task of its own, and its log lines are about itself."""
    barrier = asyncio.Barrier(2)
    seen: list[tuple[str, str]] = []

    async def handler(ctx: Context, _payload: Mapping[str, Any]) -> None:
        await barrier.wait()
        cell = current_run.get()
        assert cell is not None
        assert cell.ctx is not None
        seen.append((ctx.handler, cell.ctx.handler))
        if ctx.handler == "two":
            await asyncio.sleep(0.02)
            seen.append(("two", "ended"))

    ward.add(handler, name="one")
    ward.add(handler, name="two")
    async with asyncio.timeout(10):
        await ward.attempt()
    assert sorted(seen[:2]) == [("one", "one"), ("two", "two")]
    assert seen[2] == ("two", "ended")


async def test_a_later_attempt_is_told_how_the_last_one_failed(ward: Ward) -> None:
    """And which it is."""
    told: list[tuple[int, Failure | None]] = []

    async def handler(ctx: Context, _payload: Mapping[str, Any]) -> None:
        told.append((ctx.attempt, ctx.last_failure))

    ward.add(handler)
    await ward.attempt()
    failure = ward.delivery.failure = Failure("handler", OSError("no disk"), "", 1)
    await ward.attempt()
    assert told == [(1, None), (2, failure)]


async def test_what_a_handler_does_after_its_end_is_an_error(ward: Ward) -> None:
    """A task that it left behind cannot publish with its record any more."""
    left: list[asyncio.Task[Any]] = []

    async def handler(ctx: Context, _payload: Mapping[str, Any]) -> None:
        async def later() -> None:
            await asyncio.sleep(0.01)
            await ctx.publish(status("late", "s"))

        left.append(asyncio.create_task(later()))

    ward.add(handler)
    outputs, _ = await ward.attempt()
    with pytest.raises(RuntimeError, match="handler has ended"):
        await left[0]
    assert outputs == {"handler": 0}


async def test_a_payload_that_a_handler_may_catch_leaves_nothing(ward: Ward) -> None:
    """It published one that does not fit, and then one that does."""

    async def handler(ctx: Context, _payload: Mapping[str, Any]) -> None:
        with pytest.raises(InvalidPayload):
            await ctx.publish(status("x", "s").with_(payload={"agent_status": 7}))
        await ctx.publish(status("y", "s"))

    ward.add(handler)
    assert await ward.attempt() == ({"handler": 1}, [])


@pytest.mark.parametrize("count", [1, 2])
async def test_an_interruption_is_raised_when_all_handlers_have_ended(
    ward: Ward, count: int
) -> None:
    """It is no failure, and each was told."""
    started: list[Context] = []
    ended: list[str] = []

    async def handler(ctx: Context, _payload: Mapping[str, Any]) -> None:
        started.append(ctx)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append(ctx.handler)

    for n in range(count):
        ward.add(handler, name=f"handler {n}")
    task = asyncio.create_task(ward.attempt())
    await until(lambda: len(started) == count, "running")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(ended) == count
    assert all(ctx.cancelled for ctx in started)


async def test_something_that_was_cancelled_elsewhere_is_a_failure(ward: Ward) -> None:
    """A handler awaited it, and let that through: nobody cancelled the record."""

    async def handler(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    ward.add(handler)
    outputs, (failure,) = await ward.attempt()
    assert (outputs, failure.name) == ({}, "CancelledError")


async def test_a_timeout_names_the_handler_and_its_limit(ward: Ward) -> None:
    """A handler that swallows it and ends has ended."""

    async def slow(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        await asyncio.sleep(60)

    async def stubborn(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(0.01)

    ward.add(slow, timeout_s=0.01)
    ward.add(stubborn, timeout_s=0.01)
    outputs, (failure,) = await ward.attempt()
    assert (outputs, failure.handler) == ({"stubborn": 0}, "slow")
    assert isinstance(failure.error, HandlerTimedOut)


async def test_a_cancel_during_a_timeout_is_a_cancel(ward: Ward) -> None:
    """Whoever interrupts the record hears of it."""
    started = asyncio.Event()

    async def handler(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        started.set()
        await asyncio.sleep(60)

    ward.add(handler, timeout_s=30)
    task = asyncio.create_task(ward.attempt())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_sync_handlers_run_on_the_apps_threads(ward: Ward) -> None:
    """Side by side with each other and with the loop."""
    barrier = threading.Barrier(2, timeout=10)
    threads: set[int] = set()

    def handler(ctx: Any, _payload: Mapping[str, Any]) -> None:
        threads.add(threading.get_ident())
        barrier.wait()
        ctx.publish(status(ctx.handler, "s"))

    ward.add(handler, name="one")
    ward.add(handler, name="two")
    assert await ward.attempt() == ({"one": 1, "two": 1}, [])
    assert len(threads) == 2
    assert threading.get_ident() not in threads


async def test_an_interrupted_sync_handler_is_waited_for(ward: Ward) -> None:
    """However often it is interrupted; what it raises then is heard, and is no failure."""
    started, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def handler(ctx: Any, _payload: Mapping[str, Any]) -> None:
        started.set()
        assert go_on.wait(20)
        ended.set()
        if ctx.cancelled:
            raise OSError("nobody wants it")

    ward.add(handler)
    task = asyncio.create_task(ward.attempt())
    await until(started.is_set, "running")
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0.01)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_what_is_kept_of_a_stack_is_bounded(ward: Ward) -> None:
    """Its end, where the cause is."""

    async def deep(_ctx: Context, _payload: Mapping[str, Any]) -> None:
        raise OSError("x" * 10 * STACK_CHARS_MAX)

    ward.add(deep)
    _, (failure,) = await ward.attempt()
    assert len(failure.stack) == STACK_CHARS_MAX
