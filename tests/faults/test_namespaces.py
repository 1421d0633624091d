"""A network namespace of its own: what is inside, what outside, and the kernel's partition."""

from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from tests.faults.namespaces import network_namespace, network_of
from tests.faults.stage import NotPossibleHere

_CLIENT = """
import socket, sys
line = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=20)
for said in sys.stdin:
    line.sendall(said.encode())
    sys.stdout.write(line.recv(100).decode())
    sys.stdout.flush()
"""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.readline():
        writer.write(data)
    writer.close()


async def test_a_partition_by_the_kernel_closes_nothing() -> None:
    """A client inside reaches what listens inside; cut off it hears nothing, mended all of it."""
    try:
        async with network_namespace() as namespace:
            with socket.create_server(("127.0.0.1", 0)) as outside:
                port = outside.getsockname()[1]  # taken here, and free in there
                listeners = await namespace.listen([port])
                server = await asyncio.start_server(echo, sock=listeners[port])
                client = await asyncio.create_subprocess_exec(
                    *(*namespace.prefix, sys.executable, "-c", _CLIENT, str(port)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                )
                assert client.stdin is not None
                assert client.stdout is not None
                client.stdin.write(b"one\n")
                assert await asyncio.wait_for(client.stdout.readline(), 30) == b"one\n"
                assert network_of(client.pid) != network_of("self")
                await namespace.loopback(up=False)
                client.stdin.write(b"two\n")
                answer = asyncio.ensure_future(client.stdout.readline())
                done, _ = await asyncio.wait([answer], timeout=0.5)
                assert not done
                assert client.returncode is None
                await namespace.loopback(up=True)
                assert await asyncio.wait_for(answer, 30) == b"two\n"
                client.stdin.close()
                assert await asyncio.wait_for(client.wait(), 30) == 0
                server.close()
    except NotPossibleHere as reason:
        pytest.skip(str(reason))
