"""Processes of the system: how they start, who they are, whether they live, how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from streams.brokers.embedded.state import ProcessId

_POLL_S = 0.02


def spawn(command: Sequence[str], output: Path) -> int:
    """Start a process of its own session that outlives us, and return its pid.

    Its session keeps a Ctrl-C at our terminal from reaching it. Its output goes to `output`.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        command[0],
        list(command),
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def reap(process: ProcessId) -> None:
    """Collect a dead process if it was our child, so that no zombie stays."""
    with suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


def identify(pid: int) -> ProcessId | None:
    """The process that has this pid now; None if there is none, or only a zombie."""
    birth = _linux_birth(pid) if sys.platform == "linux" else _ps_birth(pid)
    return None if birth is None else ProcessId(pid, birth)


def is_alive(process: ProcessId) -> bool:
    """Whether this very process still runs: same pid and same birth."""
    return identify(process.pid) == process


def terminate(processes: Sequence[ProcessId], *, timeout_s: float, rest_s: float) -> bool:
    """SIGTERM to all, then wait until all are gone. False if one had to be killed at the end.

    Once most are gone, the others have `rest_s` left: a node of Kafka cannot end in order without a
    majority of its cluster. One that SIGSTOP holds is let go on, or it could not end at all.
    """
    deadline = time.monotonic() + timeout_s
    for process in processes:
        _signal(process, signal.SIGTERM)
        _signal(process, signal.SIGCONT)
    most_gone = False
    while (left := [process for process in processes if is_alive(process)]) and (
        time.monotonic() < deadline
    ):
        if not most_gone and 0 < 2 * len(left) < len(processes):
            most_gone = True
            deadline = min(deadline, time.monotonic() + rest_s)
        time.sleep(_POLL_S)
    kill(left, timeout_s=timeout_s)
    return not left


def kill(processes: Sequence[ProcessId], *, timeout_s: float) -> None:
    """SIGKILL to all, then wait until all are gone, or so long."""
    for process in processes:
        _signal(process, signal.SIGKILL)
    deadline = time.monotonic() + timeout_s
    for process in processes:
        wait_gone(process, deadline - time.monotonic())


def wait_gone(process: ProcessId, timeout_s: float) -> bool:
    """Wait for the end of a process, whether it is our child or not. False at the deadline."""
    deadline = time.monotonic() + timeout_s
    while is_alive(process):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _signal(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to this very process; False if it is gone."""
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def _linux_birth(pid: int) -> str | None:
    """Boot id and start time in ticks: proc(5), fields 3, 20 and 22 of `stat`.

    A zombie that still has threads is not gone yet: they may hold its files and ports.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    state, threads, ticks = fields[0], int(fields[17]), fields[19]
    return None if state in "ZX" and threads <= 1 else f"{boot}:{ticks}"


def _ps_birth(pid: int) -> str | None:
    """The start time that ps(1) reports, to the second."""
    answer = subprocess.run(  # noqa: S603 (our own argv)
        ["/bin/ps", "-p", str(pid), "-o", "stat=,lstart="],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"LC_ALL": "C", "TZ": "UTC"},
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return started.strip() if started and not state.startswith("Z") else None
