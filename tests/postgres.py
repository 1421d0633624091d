"""A PostgreSQL server of its own for a test run: Debian's `postgresql`, on loopback, thrown away.

It refuses to run as root; then it runs as `nobody`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from consumers.databases import Database
from streams.brokers.embedded import guard
from streams.errors import BrokerError

START_S: Final = 60.0
_FOLDERS: Final = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


def missing() -> str:
    """Why there is none; empty if there is."""
    if find_spec("psycopg") is None:
        return "psycopg is not installed (agentlog[postgres])"
    if not _FOLDERS and shutil.which("initdb") is None:
        return "no PostgreSQL server on this machine (Debian: apt-get install postgresql)"
    return ""


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A running server's URL; skips the test if there can be none.

    A guard ends the server and deletes its data if this process is killed.
    """
    if why := missing():
        pytest.skip(why)
    binaries = _FOLDERS[0] if _FOLDERS else Path(shutil.which("initdb") or "").parent
    folder = Path(tempfile.mkdtemp(prefix="agentlog-postgres-"))
    as_nobody: list[str] = []
    if os.getuid() == 0:
        shutil.chown(folder, "nobody")
        as_nobody = ["setpriv", "--reuid=nobody", "--clear-groups", "--"]
    data = folder / "data"
    options = ["-D", str(data), "-U", "agentlog", "-A", "trust", "-E", "UTF8", "-N"]
    subprocess.run(
        [*as_nobody, binaries / "initdb", *options], check=True, capture_output=True, cwd=folder
    )
    port = _free_port()
    listening = ["-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder)]
    command = [*as_nobody, str(binaries / "postgres"), *listening]
    with subprocess.Popen(
        [sys.executable, guard.__file__, folder, os.devnull, *command],
        stdin=subprocess.PIPE,  # its end, however this process comes to it, ends the server
        stdout=subprocess.PIPE,
        cwd=folder,
    ) as guarding:
        assert guarding.stdout is not None
        pid = int(guarding.stdout.readline())
        url = f"postgresql://agentlog@127.0.0.1:{port}/postgres"
        try:
            _await(lambda: _answers(url), "PostgreSQL does not answer")
            yield url
        finally:
            os.kill(pid, signal.SIGINT)  # fast: whoever is connected is cut off
            _await(lambda: not _answers(url), "PostgreSQL does not end")


def _free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
    return port


def _answers(url: str) -> bool:
    try:
        Database(url).close()
    except BrokerError:
        return False
    return True


def _await(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)
