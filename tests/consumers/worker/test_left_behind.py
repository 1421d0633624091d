"""H11: a record that runs alone and outlives its partition blocks its process, so that ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from consumers.app import App
from consumers.context import Context
from consumers.marks import Mark
from consumers.sync_context import SyncContext
from consumers.worker import loop as loop_module
from consumers.worker.assignment import TAKEOVERS_MAX
from consumers.worker.loop import SuspectLeftBehind
from consumers.worker.ports import Assigned
from streams.record import Partition, Record
from tests.consumers.worker.harness import ASSIGN, CODEC, assign_task, until
from tests.consumers.worker.rig import SOURCE, Rig, record

HANG_S_MAX = 20.0
"""So that a test that fails ends."""
SUSPICIOUS = Mark(0, clean=False, takeovers=TAKEOVERS_MAX - 1).encode()


class Hanging:
    """An app whose handler waits, and goes on waiting when interrupted if it is deaf."""

    def __init__(self, *, deaf: bool, sync: bool = False) -> None:
        self.app = App("fleet", topics=("tasks",), commit_linger_ms=0, drain_s_max=0.05)
        self.started: list[int] = []
        self.go_on = threading.Event()

        async def waits(ctx: Context, _payload: Mapping[str, Any]) -> None:
            self.started.append(ctx.record.position)
            deadline = time.monotonic() + HANG_S_MAX
            while not self.go_on.is_set() and time.monotonic() < deadline:
                try:
                    await asyncio.sleep(0.01)
                except asyncio.CancelledError:
                    if not deaf:
                        raise

        def waits_on_thread(ctx: SyncContext, _payload: Mapping[str, Any]) -> None:
            self.started.append(ctx.record.position)
            self.go_on.wait(HANG_S_MAX)

        if sync:
            self.app.on(ASSIGN)(waits_on_thread)
        else:
            self.app.on(ASSIGN)(waits)


@pytest.fixture
def hang() -> Iterator[Callable[..., Hanging]]:
    """Makes apps that hang no longer than the test."""
    made: list[Hanging] = []

    def make(**how: bool) -> Hanging:
        made.append(Hanging(**how))
        return made[-1]

    yield make
    for one in made:
        one.go_on.set()


async def running_alone(hanging: Hanging) -> Rig:
    """A worker whose only record runs alone, for owners of its partition kept dying."""
    rig = Rig(hanging.app)
    await asyncio.sleep(0)
    rig.assign(mark=SUSPICIOUS)
    rig.deliver(record(0, assign_task(0, "k")))
    await until(lambda: hanging.started == [0], "it runs", task=rig.task)
    assert rig.mark.suspect == 0
    return rig


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("how", ["lost", "revoked", "reloaded"])
async def test_h11_a_suspect_that_no_interruption_reaches_ends_its_process(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    hang: Callable[..., Hanging],
    how: str,
    sync: bool,
) -> None:
    """Its partition is another's, nothing may run beside it: another process must take over."""
    monkeypatch.setattr(loop_module, "LATE_S_MAX", 0.1)
    hanging = hang(deaf=True, sync=sync)
    rig = await running_alone(hanging)
    if how == "revoked":
        done = asyncio.Event()
        rig.loop.on_revoking([SOURCE], done.set)
        await done.wait()
    if how == "reloaded":
        rig.assign(2)
    else:
        rig.loop.on_lost([SOURCE])
    other = Partition("ns.tasks", 1)
    rig.loop.on_assigned([Assigned(3, other, 0, "", "m")])
    rig.deliver(Record("ns.tasks", 1, 0, 1_000, b"k", CODEC.encode(assign_task(1, "o"))), token=3)
    async with asyncio.timeout(10):
        with pytest.raises(SuspectLeftBehind, match=r"ns\.tasks.*did not end within 0\.1 s"):
            await rig.task
    assert (hanging.started, rig.loop.stubborn) == ([0], 1)
    assert "suspect_left_behind" in capsys.readouterr().out
    hanging.go_on.set()
    await until(lambda: rig.loop.stubborn == 0, "ended at last")


async def test_h11_a_suspect_that_ends_when_it_is_interrupted_makes_room(
    monkeypatch: pytest.MonkeyPatch, hang: Callable[..., Hanging]
) -> None:
    """Nothing ends: other partitions go on at once."""
    monkeypatch.setattr(loop_module, "LATE_S_MAX", 0.1)
    hanging = hang(deaf=False)
    rig = await running_alone(hanging)
    rig.loop.on_lost([SOURCE])
    other = Partition("ns.tasks", 1)
    rig.loop.on_assigned([Assigned(2, other, 0, "", "m")])
    rig.deliver(Record("ns.tasks", 1, 0, 1_000, b"k", CODEC.encode(assign_task(1, "o"))), token=2)
    await until(lambda: hanging.started == [0, 0], "the other one runs", task=rig.task)
    await asyncio.sleep(0.3)  # longer than a suspect is waited for
    assert not rig.task.done()
    hanging.go_on.set()
    async with asyncio.timeout(10):
        await rig.end()
