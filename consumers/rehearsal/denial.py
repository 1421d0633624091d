"""No network and no processes while handlers run.

Two layers. The interpreter's audit hook (PEP 578) sees every connection, look-up and process that
Python code begins, on whichever thread, and raises an error that says who did it; it counts for
the whole process, so nothing of ours may need a Python socket meanwhile (the log's readers are C).
What C libraries do on their own it does not see: there the kernel refuses (`kernel`), on the
thread that runs the handlers and all that it starts.

What neither layer stops: a connection that was open before, and files.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from streams.errors import AgentlogError, NonRetriable

Refuse = Callable[[str], Exception]
"""Told what was tried, in words; returns the error for whoever tried."""


class Refused(NonRetriable):
    """A handler tried what a rehearsal does not do; the message names it and the record."""


_CONNECTS: Final[Mapping[str, str]] = {
    "socket.connect": "connects to",
    "socket.bind": "listens at",
    "socket.sendto": "sends to",
    "socket.sendmsg": "sends to",
}
"""Events whose second argument is an address."""
_TRIES: Final[Mapping[str, str]] = {
    "socket.gethostbyname": "looks up",
    "socket.gethostbyaddr": "looks up",
    "socket.getnameinfo": "looks up",
    "subprocess.Popen": "starts a process,",
    "os.system": "starts a process,",
    "os.posix_spawn": "starts a process,",
    "os.exec": "becomes another process,",
}
"""Events whose first argument says what."""
_FORKS: Final = frozenset({"os.fork", "os.forkpty", "pty.spawn"})

_one_at_a_time: Final = threading.Lock()


class _Hook:
    """Added to the interpreter once, for good; does nothing unless something is denied."""

    def __init__(self) -> None:
        self.refuse: Refuse | None = None
        self.added = False

    def __call__(self, event: str, arguments: Sequence[Any]) -> None:
        refuse = self.refuse
        if refuse is None:
            return
        if (does := _CONNECTS.get(event)) is not None:
            raise refuse(f"{does} {arguments[1]!r}")
        if event == "socket.getaddrinfo":
            host, port = arguments[:2]
            raise refuse(f"looks up {_text(host)}{f':{_text(port)}' if port else ''}")
        if (does := _TRIES.get(event)) is not None:
            raise refuse(f"{does} {_text(arguments[0])}")
        if event in _FORKS:
            raise refuse("starts a process")


_hook: Final = _Hook()


@contextmanager
def denied(refuse: Refuse) -> Iterator[None]:
    """Whatever would reach beyond this process raises what `refuse` returns. One at a time."""
    if not _one_at_a_time.acquire(blocking=False):
        raise AgentlogError("another rehearsal runs in this process; run one after the other")
    try:
        if not _hook.added:
            sys.addaudithook(_hook)
            _hook.added = True
        _hook.refuse = refuse
        yield
    finally:
        _hook.refuse = None
        _one_at_a_time.release()


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
