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
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

from consumers.databases import Database
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
    """A running server's URL; skips the test if there can be none."""
    if why := missing():
        pytest.skip(why)
    binaries = _FOLDERS[0] if _FOLDERS else Path(shutil.which("initdb") or "").parent
    user = "nobody" if os.getuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="agentlog-postgres-") as name:
        folder = Path(name)
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        with socket.socket() as held:
            held.bind(("127.0.0.1", 0))
            port = held.getsockname()[1]
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "agentlog", "-A", "trust", "-E", "UTF8", "-N"],
            check=True,
            capture_output=True,
            cwd=folder,
            user=user,
        )
        process = subprocess.Popen(
            [binaries / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder],
            cwd=folder,
            user=user,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            url = f"postgresql://agentlog@127.0.0.1:{port}/postgres"
            _await(process, url)
            yield url
        finally:
            process.send_signal(signal.SIGINT)  # fast: whoever is connected is cut off
            process.wait(30)


def _await(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            Database(url).close()
        except BrokerError:
            assert process.poll() is None, "PostgreSQL ended as it started"
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.1)
        else:
            return
