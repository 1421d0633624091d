"""`agentlog registry`: a real Apicurio is started, found again, stopped; it forgets nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.cli.registry import app
from streams.brokers.apicurio import RegistryInstance, instance
from streams.brokers.apicurio.archive import NEED
from streams.brokers.embedded import process
from streams.brokers.embedded.state import ProcessId
from streams.errors import BrokerError, ConfigurationError
from streams.registries import RegistryClient
from streams.registries.transport import Transport

pytestmark = pytest.mark.timeout(600)

TEXT = json.dumps({"type": "record", "name": "A", "fields": [{"name": "a", "type": "int"}]})


def _json(*args: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*args, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Named registries live here; none of them outlives its test."""
    place = tmp_path / "with space and $dollar"
    monkeypatch.setattr(instance, "registries_home", lambda: place)
    yield place
    RegistryInstance.named().stop()


def test_start_status_stop_and_what_was_registered_stays(home: Path) -> None:
    """With --json each prints one object; a second start finds the first. After a stop and after a
    kill the registry comes back on its port with every schema it had acknowledged.
    """
    assert _json("status") == {"name": "default", "running": False, "data": str(home / "default")}
    started = _json("start")
    assert started["already_running"] is False
    assert started["url"].startswith("http://127.0.0.1:")
    again = _json("start")
    assert (again["already_running"], again["pid"]) == (True, started["pid"])
    first = _register(started["url"], "one")
    assert _json("stop") == {"name": "default", "stopped": True, "how": "clean"}
    assert _json("stop")["stopped"] is False

    restarted = _json("start")
    assert restarted["url"] == started["url"]
    second = _register(started["url"], "two", doc="Another one.", name="B")
    who = process.identify(restarted["pid"])
    assert who is not None
    os.kill(who.pid, signal.SIGKILL)
    assert process.wait_gone(who, 30)
    assert _json("status")["running"] is False

    status = _json("start") | _json("status")
    assert status["answers"] is True
    with RegistryClient(Transport(status["url"])) as client:
        assert client.subjects() == ["one", "two"]
        assert client.schema(first) is not None
        assert client.schema(second) is not None
    _only_loopback(ProcessId(status["pid"], ""), status["port"])
    log = Path(status["log"]).read_text(encoding="utf-8")
    assert "Listening on: http://127.0.0.1:" in log
    assert (home / "default" / "logs" / "console.log").read_text(encoding="utf-8") == ""


def _register(url: str, subject: str, **more: str) -> int:
    with RegistryClient(Transport(url)) as client:
        return client.register(subject, json.dumps({**json.loads(TEXT), **more}))


def _only_loopback(who: ProcessId, port: int) -> None:
    """Every port it listens on is on 127.0.0.1, as the system has it."""
    listening = set()
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{who.pid}/net/{table}")
        if not path.exists():
            pytest.skip("only Linux tells who listens where")
        inodes = _links(who.pid)
        for line in path.read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                address, _, number = fields[1].rpartition(":")
                listening.add((address, int(number, 16)))
    assert port in {number for _, number in listening}
    assert all(address.endswith("0100007F") for address, _ in listening), listening


def _links(pid: int) -> set[str]:
    found = set()
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.add(str(fd.readlink()))
        except OSError:
            continue
    return found


def test_a_port_that_is_taken_is_one_sentence(home: Path) -> None:
    """Asked for by name it is an error; nothing is left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BrokerError, match=r"port \d+ .* in use") as caught:
            RegistryInstance.named().start(port=taken.getsockname()[1])
    assert "--port" in str(caught.value)
    assert RegistryInstance.named().find() is None


def test_a_name_that_is_none_is_said() -> None:
    """It becomes a folder."""
    with pytest.raises(ConfigurationError, match="registry name"):
        RegistryInstance.named("../else")


def test_what_it_needs_is_named_with_the_way_around() -> None:
    """Without the extra: what to install, or what to set instead."""
    said = str(NEED.missing_extra())
    assert "agentlog[embedded]" in said
    assert "AGENTLOG_REGISTRY_URL" in said
