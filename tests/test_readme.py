"""The README is true: its commands run as written, its code is the examples' code."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
RUN_S_MAX = 60
HANDLED_S_MAX = 40


def commands() -> list[list[str]]:
    """Every command of ours in a console block, without comments."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [
        shlex.split(line, comments=True)
        for line in lines
        if line.startswith(("agentlog ", "python examples/"))
    ]


def as_process(command: list[str]) -> list[str]:
    if command[0] == "agentlog":
        return [sys.executable, "-m", "consumers.cli", *command[1:]]
    return [sys.executable, *command[1:]]


@pytest.fixture
def environment(kafka: str, namespace: str, tmp_path: Path) -> Mapping[str, str]:
    return {
        **os.environ,
        "AGENTLOG_BOOTSTRAP_SERVERS": kafka,
        "AGENTLOG_NAMESPACE": namespace,
        "AGENTLOG_STORE": f"sqlite:///{tmp_path / 'store.sqlite'}",
        "PYTHONPATH": str(ROOT),
    }


def run(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        as_process(command),
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )


@pytest.mark.parametrize("name", ["reviewer", "assign"])
def test_the_code_shown_is_the_code_that_ships(name: str) -> None:
    """What stands in the README is an example's whole file."""
    code = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    assert f"```python\n{code}```" in README


@pytest.mark.timeout(600)
def test_every_command_runs_as_written(environment: Mapping[str, str], tmp_path: Path) -> None:
    """In the README's own order, on one namespace: each exits 0, what goes on until it is told to
    end does so on SIGTERM.
    """
    worker = None
    for command in commands():
        if command[1:3] == ["broker", "stop"]:
            continue  # would stop a developer's own
        if command[1] == "worker":
            worker = start(command, environment)
            continue
        if command[1:3] == ["projections", "run"]:
            projection = start(command, environment)
            until_kept(command[3], environment)
            end(projection)
            continue
        if command[1] == "audit":
            until_handled(environment)
        if "--html" in command:
            command[-1] = str(tmp_path / command[-1])
        done = run(command, environment)
        assert done.returncode == 0, f"{command}: {done.stderr}"
    assert worker is not None
    end(worker)
    assert (tmp_path / "trace.html").read_text().startswith("<!doctype html>")


def start(command: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        as_process(command), env=environment, cwd=ROOT, stderr=subprocess.DEVNULL
    )


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(RUN_S_MAX) == 0


def until_kept(name: str, environment: Mapping[str, str]) -> None:
    """Wait for something that a live projection has stored."""
    deadline = time.monotonic() + HANDLED_S_MAX
    while run(["agentlog", "projections", "show", name, "--json"], environment).returncode != 0:
        assert time.monotonic() < deadline, f"projection {name} stored nothing"


def until_handled(environment: Mapping[str, str]) -> None:
    """Wait for the three results that the README's three assignments cause."""
    tail = ["agentlog", "tail", "--from", "start", "--to", "end", "--key", "review-1", "--json"]
    deadline = time.monotonic() + HANDLED_S_MAX
    while run(tail, environment).stdout.count("agentlog.task.TaskFinished") < 3:
        assert time.monotonic() < deadline, "the worker did not finish the three reviews"
