"""Worker processes of one group under one supervisor.

The supervisor starts `count` processes and says what becomes of each. One that dies is reported,
what it left open on the log is ended at once (instead of after its transaction's timeout), and
another takes its place after a wait that grows while processes die young. Nothing restarts
silently.

When the supervisor gives up
----------------------------
What never works must end: `BARREN_DEATHS_MAX` young deaths in a row of processes that committed
nothing, over all of them, end everything. A process that has committed had its app loaded, Kafka
reached and its partitions opened; if a record kills it, the next opening counts that, and after
five such deaths the record is a dead letter (`quarantine`, H11). That is progress, however many
records kill, and however many processes they kill side by side: giving up would leave all that
stands behind them on the log. So the death of a process that has committed is told and waited
after, at most `RESTART_S_MAX`, and never counted; nor is a row of others that it interrupts.

A process says so by one byte on a pipe, at its first commit: that needs no Kafka client here and no
clock, and cannot be late, for the byte outlives the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, Literal

import msgspec
import structlog
from confluent_kafka import KafkaException

from consumers.worker.worker import new_run_id

RESTART_S_MIN: Final = 0.5
RESTART_S_MAX: Final = 15.0
YOUNG_S: Final = 60.0
"""A process that lived longer does not count as having died young."""
BARREN_DEATHS_MAX: Final = 8
"""Young deaths in a row, over all processes, of such as committed nothing, after which the
supervisor gives up (minutes)."""
USAGE: Final = 2
"""Exit code of a process that was set up wrongly: starting it again cannot help."""

_STDERR: Final = 2
"""A worker's stdout goes there too: ours is for results."""
_log: Final = structlog.get_logger("agentlog.workers")


class ProcessEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that became of one worker process."""

    event: Literal["started", "died", "ended", "gave_up"]
    worker: int
    """Its place, from 1; the process that replaces a dead one takes it over."""
    pid: int
    run_id: str
    exit_code: int | None = None
    """Negative: the number of the signal that killed it."""
    restart_in_s: float | None = None


def restart_wait_s(quick_deaths: int) -> float:
    """How long to wait after the n-th young death in a row (from 1); 0 deaths: the minimum."""
    return min(RESTART_S_MIN * 2.0 ** max(0, quick_deaths - 1), RESTART_S_MAX)


class Supervisor:
    """Keeps `count` processes running until told to stop.

    `command` makes the command line of a process run, given its run id and the descriptor of the
    pipe that its first commit is told by (`tell_first_commit`). `settle` ends what a dead run left
    open, given its run id; it may raise `KafkaException`, which is reported.
    """

    def __init__(
        self,
        count: int,
        command: Callable[[str, int], Sequence[str]],
        *,
        tell: Callable[[ProcessEvent], None],
        settle: Callable[[str], None],
        stop_s_max: float,
    ) -> None:
        self._count = count
        self._command = command
        self._tell = tell
        self._settle = settle
        self._stop_s_max = stop_s_max
        self._quick_deaths = 0
        """Young deaths in a row: the wait after one."""
        self._barren_deaths = 0
        """The same without those of processes that had committed, nor any commit between."""
        self._exit_code = 0

    async def run(self, stop: asyncio.Event) -> int:
        """Returns the exit code: 0 if told to stop, else that of what made it give up."""
        keepers = [self._keep(place, stop) for place in range(1, self._count + 1)]
        await asyncio.gather(*keepers)
        return self._exit_code

    async def _keep(self, place: int, stop: asyncio.Event) -> None:
        while not stop.is_set():
            run_id = new_run_id()
            began = time.monotonic()
            with _first_commit(self._on_first_commit) as (told, fd):
                process = await asyncio.create_subprocess_exec(
                    *self._command(run_id, fd),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=_STDERR,
                    pass_fds=(fd,),
                )
                self._tell(ProcessEvent("started", place, process.pid, run_id))
                code = await self._until_end(process, stop)
                committed = told()
            if code == 0 or stop.is_set():
                self._tell(ProcessEvent("ended", place, process.pid, run_id, code))
                if code != -signal.SIGTERM:  # that: told to stop before it had begun to listen
                    self._exit_code = self._exit_code or _exit_code(code)
                if code >= 0:
                    return
            young = time.monotonic() - began < YOUNG_S
            self._quick_deaths = self._quick_deaths + 1 if young else 0
            if not committed:
                self._barren_deaths = self._barren_deaths + 1 if young else 0
            await self._after_death(place, process.pid, run_id, code, stop)

    def _on_first_commit(self) -> None:
        self._barren_deaths = 0

    async def _until_end(self, process: asyncio.subprocess.Process, stop: asyncio.Event) -> int:
        """Wait for its end; once `stop` is set, pass it on and kill what does not drain."""
        code, _ = await _first(process.wait(), stop.wait())
        if code is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            code, _ = await _first(process.wait(), asyncio.sleep(self._stop_s_max, result=True))
        if code is None:
            _log.error("killed", pid=process.pid, undrained_s=self._stop_s_max)
            process.kill()
            code = await process.wait()
        return int(code)

    async def _after_death(
        self, place: int, pid: int, run_id: str, code: int, stop: asyncio.Event
    ) -> None:
        try:
            await asyncio.to_thread(self._settle, run_id)
        except KafkaException as error:
            _log.warning("unsettled", run_id=run_id, error=str(error))
        if stop.is_set():
            return
        if code == USAGE or self._barren_deaths >= BARREN_DEATHS_MAX:
            self._tell(ProcessEvent("gave_up", place, pid, run_id, code))
            self._exit_code = _exit_code(code)
            stop.set()
            return
        wait_s = restart_wait_s(self._quick_deaths)
        self._tell(ProcessEvent("died", place, pid, run_id, code, wait_s))
        await _first(stop.wait(), asyncio.sleep(wait_s, result=True))


@contextlib.contextmanager
def _first_commit(on_told: Callable[[], None]) -> Iterator[tuple[Callable[[], bool], int]]:
    """A pipe to one process: whether it has told of a commit, and its end of it."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    loop = asyncio.get_running_loop()
    committed = False

    def told() -> bool:
        nonlocal committed
        with contextlib.suppress(BlockingIOError):
            if os.read(ours, 1) and not committed:
                committed = True
                on_told()
            loop.remove_reader(ours)
        return committed

    loop.add_reader(ours, told)
    try:
        yield told, theirs
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


def worker_command(app: str, run_id: str, commit_fd: int) -> list[str]:
    """The command line of a worker process of ours; `app` is a `MODULE:NAME`."""
    return [
        *(sys.executable, "-m", "consumers.worker.process", "--app", app, "--run-id", run_id),
        *("--parent", str(os.getpid()), "--commit-fd", str(commit_fd)),
    ]


def tell_first_commit(fd: int) -> Callable[[], None]:
    """What a worker process calls at each commit, to tell its supervisor of the first."""
    untold = True

    def tell() -> None:
        nonlocal untold
        if untold:
            untold = False
            with contextlib.suppress(OSError):  # the supervisor is gone, and so is who would care
                os.write(fd, b"\n")

    return tell


def _exit_code(code: int) -> int:
    """Ours for a process that ended so: a signal's number would say something else."""
    return code if code >= 0 else 1


async def _first(*waits: Coroutine[Any, Any, Any]) -> list[Any]:
    """The results of several waits, None for those that were not done when the first was."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return [task.result() if task.done() else None for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
