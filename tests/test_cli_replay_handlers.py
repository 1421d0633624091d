"""`agentlog replay handlers` on real Kafka: what a worker did, done again by the same code and by
others, and nothing is written.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app as cli
from streams.errors import ConfigurationError, LogError, ProofFailed
from streams.record import Partition
from streams.topics import TOPICS
from tests.consumers.rehearsal import apps
from tests.consumers.worker.harness import CODEC, Bench, assign_task, until

TASKS: Final = 12
MODULE: Final = "tests.consumers.rehearsal.apps"

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def bench(kafka: str) -> Bench:
    """A namespace in which a worker has handled tasks, some of them at the second attempt."""
    made = Bench(kafka, f"test-{secrets.token_hex(6)}")
    made.send([assign_task(n, f"k{n % 5}") for n in range(TASKS)])

    async def work() -> None:
        async with made.working(apps.same) as task:
            await until(lambda: made.caught_up("rehearsed"), "all committed", task=task)

    asyncio.run(work())
    assert len(apps.ran) == TASKS
    return made


@pytest.fixture
def run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`agentlog replay handlers` in that namespace."""
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", bench.servers)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", bench.namespace.name)

    def run(name: str, *arguments: str) -> Any:
        return CliRunner().invoke(cli, ["replay", "handlers", f"{MODULE}:{name}", *arguments])

    return run


def ends(bench: Bench) -> dict[Partition, int]:
    """Where each partition of the namespace ends, open transactions included."""
    topics = [bench.namespace.topic(name) for name in TOPICS]
    return {one: bench.reader.appended_end(one) for one in bench.reader.starts(topics)}


def document(result: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_same_code_does_the_same_and_writes_nothing(bench: Bench, run: Run) -> None:
    """Two handlers on each record, effects served; failed attempts count for nothing."""
    before = ends(bench)
    result = run("same", "--json")
    found = document(result)
    assert (result.exit_code, found["clean"], found["found"]) == (0, True, {})
    assert (found["records"], found["handler_runs"]) == (TASKS, 2 * TASKS)
    assert (found["outputs_equal"], found["outputs_not_compared"]) == (2 * TASKS, 0)
    # Every third task asked for its effect at both attempts.
    assert found["effects_served"] == TASKS + TASKS // 3
    assert len(apps.ran) == TASKS
    assert ends(bench) == before
    shown = run("same")
    assert "the same" in shown.stdout
    assert "not the same" not in shown.stdout


def test_what_somebody_changed_is_named_with_both_sides(bench: Bench, run: Run) -> None:
    """The record, the handler, the output and where it is; exit code 1."""
    [record] = [
        one
        for one in bench.records("tasks")
        if CODEC.decode(one.value, one.headers).payload["task"]["id"] == "t4"
    ]
    result = run("constant", "--json")
    found = document(result)
    assert isinstance(result.exception, ProofFailed)
    assert found["found"] == {"differs": 1}
    [one] = found["findings"]
    assert (one["record"], one["handler"], one["kind"]) == (str(record), "on_assign", "differs")
    assert one["place"].startswith(f"{bench.namespace.name}.events[")
    [difference] = one["differences"]
    assert difference["path"] == "payload.current_tasks"
    assert (difference["on_log"][0], difference["now"][0]) == ("t4", "four")
    assert one["on_log"]["payload"]["current_tasks"] == difference["on_log"]
    assert str(record) in str(result.exception)
    shown = run("constant").stdout
    assert "on the log" in shown
    assert "'four'" in shown


@pytest.mark.parametrize(
    ("name", "kind"), [("clock", "differs"), ("more", "extra"), ("less", "missing")]
)
def test_each_kind_of_change_is_found_at_every_record(
    bench: Bench, run: Run, name: str, kind: str
) -> None:
    """A wall clock in a payload, a publish more, a publish less."""
    before = ends(bench)
    result = run(name, "--json")
    assert isinstance(result.exception, ProofFailed)
    found = document(result)
    assert found["found"] == {kind: TASKS}
    assert {one["handler"] for one in found["findings"]} == {"on_assign"}
    assert ends(bench) == before


def test_a_connection_is_refused_and_prints_do_not_spoil_the_json(bench: Bench, run: Run) -> None:
    """The handler, the record and what it tried are named."""
    result = run("reaching", "--json")
    assert isinstance(result.exception, ProofFailed)
    found = document(result)
    assert found["found"] == {"refused": TASKS}
    assert "connects to ('127.0.0.1', 9)" in found["findings"][0]["detail"]
    assert "on_assign on " in str(result.exception)
    assert result.stderr.count("hello") == TASKS


def test_moments_and_groups_are_those_of_every_command(bench: Bench, run: Run) -> None:
    """Nothing was handled before there was anything; who never worked has no journal."""
    found = document(run("same", "--at", "-10d", "--json"))
    assert (found["records"], found["clean"]) == (0, True)
    unknown = run("same", "--group", "nobody")
    assert isinstance(unknown.exception, ConfigurationError)
    assert "group nobody has no journal" in str(unknown.exception)
    assert "one: rehearsed (--group" in str(unknown.exception)
    wrong = run("same", "--at", "@nothing")
    assert isinstance(wrong.exception, (ConfigurationError, LogError))
    assert isinstance(run("report").exception, ConfigurationError)


async def test_what_a_process_did_before_it_died_is_not_compared(
    kafka: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was never on the log; another process handled the record, and that is what counts."""
    bench = Bench(kafka, namespace)
    bench.send([assign_task(n, "k") for n in range(6)])
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", kafka)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", namespace)
    monkeypatch.setenv("TEST_DIED", str(tmp_path / "died"))
    command = [sys.executable, "-m", "consumers.cli", "worker", "--app", f"{MODULE}:dying"]
    worker = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: bench.caught_up("dying"), "all committed", every_s=0.3)
    finally:
        worker.terminate()
        await worker.wait()
    assert (tmp_path / "died").exists()
    arguments = ["replay", "handlers", f"{MODULE}:dying", "--json"]
    found = document(CliRunner().invoke(cli, arguments))
    assert (found["clean"], found["records"], found["outputs_equal"]) == (True, 6, 6)
