"""A worker in a network namespace of its own, where the right to make one exists (Linux, root).

The namespace has nothing but its loopback. The proxy listens there, on the brokers' own ports, and
goes on to the brokers from outside: a socket belongs to the namespace it was made in. Taking the
loopback down is then a real partition, made by the kernel: what the worker sends is dropped, and
no connection is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import os
import shutil
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from streams.brokers.embedded.node import HOST
from tests.faults.stage import NotPossibleHere

_CLONE_NEWNET: Final = 0x40000000
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
_IFREQ: Final = struct.Struct("16sh14x")
_LOOPBACK: Final = b"lo"
_READY_S_MAX: Final = 10.0
_T = TypeVar("_T")


class NetworkNamespace:
    """A namespace that lives as long as the process `pid` in it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        # Which namespace a thread is in is the thread's own affair: one thread for all visits.
        self._visitor = ThreadPoolExecutor(max_workers=1)

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command line, so that it runs in here."""
        return ("nsenter", "--target", str(self._pid), "--net", "--")

    async def listen(self, ports: Iterable[int]) -> dict[int, socket.socket]:
        """A listening socket inside, for each of these ports."""
        wanted = list(ports)
        return await self._inside(lambda: {port: _listening(port) for port in wanted})

    async def loopback(self, *, up: bool) -> None:
        """Take the only network there is down, or up again."""
        await self._inside(lambda: _set_loopback(up=up))

    async def _inside(self, visit: Callable[[], _T]) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._visitor, self._visit, visit)

    def _visit(self, visit: Callable[[], _T]) -> _T:
        with (
            Path("/proc/thread-self/ns/net").open("rb") as home,
            Path(f"/proc/{self._pid}/ns/net").open("rb") as there,
        ):
            _enter(there.fileno())
            try:
                return visit()
            finally:
                _enter(home.fileno())

    def close(self) -> None:
        """End the visiting thread."""
        self._visitor.shutdown()


@contextlib.asynccontextmanager
async def network_namespace() -> AsyncIterator[NetworkNamespace]:
    """A fresh one, its loopback up. Raises `NotPossibleHere` with the reason."""
    if sys.platform != "linux":
        raise NotPossibleHere("network namespaces are Linux's")
    missing = [tool for tool in ("unshare", "nsenter") if shutil.which(tool) is None]
    if missing:
        raise NotPossibleHere(f"{' and '.join(missing)} (util-linux) not found")
    holder = await asyncio.create_subprocess_exec(
        *("unshare", "--net", "--", "cat"),  # lives until its input ends, and so no longer than we
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await _unshared(holder)
        namespace = NetworkNamespace(holder.pid)
        try:
            await namespace.loopback(up=True)
            yield namespace
        finally:
            namespace.close()
    finally:
        if holder.returncode is None:
            holder.kill()
        await holder.wait()


def network_of(pid: int | str) -> str:
    """The network namespace that a process is in, as the system names it."""
    return str(Path(f"/proc/{pid}/ns/net").readlink())


async def _unshared(holder: asyncio.subprocess.Process) -> None:
    """Until the process is in a namespace of its own."""
    ours = network_of("self")
    async with asyncio.timeout(_READY_S_MAX):
        while holder.returncode is None:
            with contextlib.suppress(OSError):
                if network_of(holder.pid) != ours:
                    return
            await asyncio.sleep(0.01)
    assert holder.stderr is not None
    said = (await holder.stderr.read()).decode().strip()
    raise NotPossibleHere(f"no network namespace may be made here: {said}")


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise NotPossibleHere(f"no network namespace may be entered here: {os.strerror(code)}")


def _listening(port: int) -> socket.socket:
    return socket.create_server((HOST, port))


def _set_loopback(*, up: bool) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        asked = fcntl.ioctl(control, _SIOCGIFFLAGS, _IFREQ.pack(_LOOPBACK, 0))
        _, flags = _IFREQ.unpack(asked)
        flags = flags | _IFF_UP if up else flags & ~_IFF_UP
        fcntl.ioctl(control, _SIOCSIFFLAGS, _IFREQ.pack(_LOOPBACK, flags))
