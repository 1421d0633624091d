"""Ports on 127.0.0.1: given, remembered from the last run, or free."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack

from streams.brokers.embedded.node import HOST, Node
from streams.errors import BrokerError


def assign_ports(count: int, *, first_port: int | None, last_run: Sequence[Node]) -> list[Node]:
    """`count` nodes with ports nobody listens on.

    `first_port` is what the user asked for: node n gets `first_port + n - 1`; if one is taken that
    is a `BrokerError`. Without it each node keeps the ports of its last run where they are still
    free, so that a client's configuration survives a restart.
    """
    nodes = []
    with ExitStack() as held:
        for index in range(count):
            last = last_run[index] if index < len(last_run) else None
            wanted = None if first_port is None else first_port + index
            port = _choose(held, wanted, last.port if last else 0)
            controller = _first_free(held, last.controller_port if last else 0)
            nodes.append(Node(index + 1, port, controller))
    return nodes


def assign_port(*, wanted: int | None, last_run: int | None) -> int:
    """One port that nobody listens on, chosen as `assign_ports` does."""
    with ExitStack() as held:
        return _choose(held, wanted, last_run or 0)


def accepts(port: int) -> bool:
    """Whether somebody listens on this port of 127.0.0.1."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def _choose(held: ExitStack, wanted: int | None, last: int) -> int:
    if wanted is None:
        return _first_free(held, last)
    if _hold(held, wanted) is None:
        raise BrokerError(
            f"port {wanted} on {HOST} is in use by another program: choose another one with "
            "--port, or stop that program"
        )
    return wanted


def _first_free(held: ExitStack, wanted: int) -> int:
    port = _hold(held, wanted) or _hold(held, 0)
    if port is None:
        raise BrokerError(f"no port of {HOST} is free: stop some programs")
    return port


def _hold(held: ExitStack, port: int) -> int | None:
    """Bind a port (0: any) until `held` closes, so that no two nodes get the same one."""
    listener = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError:
        return None
    bound: int = listener.getsockname()[1]
    return bound
