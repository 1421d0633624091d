"""`agentlog broker`: the CLI's contract on stdout, stderr and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.cli.broker import app
from streams.brokers.embedded import instance
from streams.errors import BrokerError

pytestmark = pytest.mark.timeout(120)


def _json(*args: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, [*args, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture(autouse=True)
def _own_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "data_home", lambda: tmp_path)


def test_start_status_logs_stop() -> None:
    """With --json each prints exactly one object; a second start says that it found the first."""
    assert _json("status")["running"] is False
    try:
        started = _json("start")
        assert started["already_running"] is False
        again = _json("start")
        assert again["already_running"] is True
        assert again["pids"] == started["pids"]
        status = _json("status")
        assert status["running"] is True
        assert status["bootstrap_servers"] == started["bootstrap_servers"]
        shown = CliRunner().invoke(app, ["logs", "--lines", "5"], catch_exceptions=False)
        assert 0 < len(shown.stdout.splitlines()) <= 5
    finally:
        stopped = _json("stop")
    assert stopped == {"name": "default", "stopped": True, "how": "clean"}
    assert _json("stop")["stopped"] is False


def test_logs_of_a_broker_that_never_ran_say_so() -> None:
    """A broker error (exit code 3 in `agentlog`), with the command that helps."""
    with pytest.raises(BrokerError, match="agentlog broker start --name other"):
        CliRunner().invoke(app, ["logs", "--name", "other"], catch_exceptions=False)
