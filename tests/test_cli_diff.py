"""`agentlog state` and `agentlog diff` on real Kafka: an agent as it was, and what changed it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app as cli
from streams.errors import ConfigurationError, LogError
from tests.consumers.worker.harness import Bench, assign_task

Run = Callable[..., Any]


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


@pytest.fixture
def run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`agentlog` in that namespace."""
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", bench.servers)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", bench.namespace.name)
    return lambda *arguments: CliRunner().invoke(cli, list(arguments))


def test_a_diff_says_what_changed_and_which_records_did_it(bench: Bench, run: Run) -> None:
    """Between two moments, for one agent; others' records are none of its business."""
    bench.send([assign_task(1, "k", recipients=("a1",))])
    run("cut", "save", "before")
    bench.send(
        [
            assign_task(2, "k", recipients=("a1",)),
            assign_task(3, "j", recipients=("a2",)),
            assign_task(4, "k", recipients=("a1", "a2")),
        ]
    )
    then = json.loads(run("state", "--agent", "a1", "--at", "@before", "--json").stdout)
    assert then["agents"]["a1"]["tasks_assigned"] == 1
    document = json.loads(run("diff", "a1", "--from", "@before", "--json").stdout)
    changes = {one["path"]: (one["before"], one["after"]) for one in document["changes"]}
    assert changes["tasks_assigned"] == (1, 3)
    assert changes["received.task_assignment"] == (1, 3)
    assert changes["last_task.id"] == ("t1", "t4")
    assert [one["id"][-1] for one in document["records"]] == ["2", "4"]
    shown = run("diff", "a1", "--from", "@before").stdout
    assert "tasks_assigned" in shown
    assert "AssignTask" in shown
    assert "nothing changed about a1" in run("diff", "a1", "--from", "now").stdout


def test_what_is_wrong_is_named(bench: Bench, run: Run) -> None:
    """Moments in the wrong order, and an agent that nobody knows."""
    bench.send([assign_task(1, "k", recipients=("a1",))])
    swapped = run("diff", "a1", "--from", "now", "--to", "-10d")
    assert isinstance(swapped.exception, ConfigurationError)
    assert "is later than --to" in str(swapped.exception)
    unknown = run("diff", "nobody", "--from", "-10d")
    assert isinstance(unknown.exception, LogError)
    assert "no agent 'nobody'" in str(unknown.exception)
    mistyped = run("replay", "metrics", "--type", "AsignTask")
    assert isinstance(mistyped.exception, ConfigurationError)
    assert "did you mean AssignTask" in str(mistyped.exception)
