"""`agentlog what-if` on real Kafka: the record that tells two codes, or two schemas, apart."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from typer.testing import CliRunner

from consumers.aggregates import AggregateApp
from consumers.cli.main import app as cli
from streams.errors import ConfigurationError, LogError
from streams.record import Record
from streams.session import session_on
from streams.settings import Settings
from streams.task_life import Step, advance_task
from streams.topics import COMMANDS, EVENTS, SNAPSHOTS, TOPICS
from tests.consumers.what_if import folds
from tests.consumers.what_if.test_projections import folder_with, task_fields
from tests.consumers.worker.harness import CODEC, USED, Bench, assign_task

MODULE: Final = "tests.consumers.what_if.folds"
ASSIGN: Final = "agentlog.task.AssignTask"

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def bench(kafka: str) -> Bench:
    """A namespace with tasks on several partitions, and as many for events as for commands."""
    alike = {
        name: msgspec.structs.replace(TOPICS[name], partitions=2)
        for name in (COMMANDS, EVENTS, SNAPSHOTS)
    }
    made = Bench(kafka, f"test-{secrets.token_hex(6)}", {**USED, **alike})
    made.send([assign_task(n, f"k{n % 7}", recipients=("a1",)) for n in range(60)])
    return made


@pytest.fixture
def run(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`agentlog what-if` in that namespace."""
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", bench.servers)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", bench.namespace.name)
    return lambda *arguments: CliRunner().invoke(cli, ["what-if", *arguments])


def document(result: Any) -> dict[str, Any]:
    if result.exception is not None:
        raise result.exception
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_two_codes_are_told_apart_by_a_record(bench: Bench, run: Run) -> None:
    """Its position, type, sender and time; what differs after it, and in the end."""
    [record] = [
        one
        for one in bench.records("tasks")
        if CODEC.decode(one.value, one.headers).id.endswith("000005")
    ]
    found = document(run("state", "--other", f"{MODULE}:generous", "--json"))
    first = found["first"]
    assert not found["equal"]
    assert (first["record"], first["type"], first["sender"]) == (str(record), ASSIGN, "boss")
    assert first["appended_at"].startswith("20")
    [one] = first["differences"]
    assert one["path"] == "boss.sent.task_assignment"
    assert one["other"] == one["this"] + 1
    assert found["diverged"] == 1
    assert found["differences"] == [{"path": "boss.sent.task_assignment", "this": 60, "other": 61}]
    shown = run("state", "--other", f"{MODULE}:generous").stdout
    assert f"the first record after which they differ is {record}" in shown
    assert "boss.sent.task_assignment" in shown
    before = document(run("state", "--other", f"{MODULE}:generous", "--at", "-10d", "--json"))
    assert before["equal"]


def test_the_same_code_comes_to_the_same(bench: Bench, run: Run) -> None:
    """Under two names; the digest is the one that a replay tells."""
    found = document(run("state", "--other", f"{MODULE}:state", "--json"))
    assert (found["equal"], found["first"], found["records"]) == (True, None, 60)
    assert found["this"]["digest"] == found["other"]["digest"]
    replayed = CliRunner().invoke(cli, ["replay", "state", "--json"])
    assert json.loads(replayed.stdout)["digest"] == found["this"]["digest"]
    assert "no difference" in run("state", "--other", f"{MODULE}:state").stdout


def test_other_schemas_over_the_same_history(bench: Bench, run: Run, tmp_path: Path) -> None:
    """A field with a default, which nobody has locked: what it means for each record."""
    colour = {"name": "colour", "type": "string", "default": "red"}
    folder = folder_with(tmp_path, lambda schema: task_fields(schema).append(colour))
    found = document(run(f"{MODULE}:texts", "--schemas", str(folder), "--json"))
    assert not found["equal"]
    assert found["other"]["label"] == f"{MODULE}:texts under {folder}"
    assert (found["this"]["undecodable"], found["other"]["undecodable"]) == (0, 0)
    assert found["different"] == 60
    assert {one["other"] for one in found["differences"]} == {"red"}
    assert found["first"]["record"] == str(min(bench.records("tasks"), key=_when))
    must = {"name": "must", "type": "string"}
    (tmp_path / "strict").mkdir()
    strict = folder_with(tmp_path / "strict", lambda schema: task_fields(schema).append(must))
    result = run(f"{MODULE}:texts", "--schemas", str(strict))
    assert "60 records could not be decoded; first: " in result.stderr
    # A fold that never looks at the field comes to the same.
    assert document(run("state", "--schemas", str(folder), "--json"))["equal"]


def _when(record: Record) -> tuple[int, str, int, int]:
    return (record.appended_at_ms, record.topic, record.partition, record.position)


async def test_streams_of_aggregates_are_compared_event_by_event(
    kafka: str, bench: Bench, run: Run
) -> None:
    """The first event after which a stream is another, of each stream."""
    session = session_on(kafka, Settings(namespace=bench.namespace.name))
    app = AggregateApp("tasks", folds.tasks)
    async with bench.working(app), session.client("worker-1") as client:
        for task in ("t1", "t2"):
            await client.command(advance_task(task, Step.ASSIGNED, assignee="a1"))
            if task == "t2":
                await client.command(advance_task(task, Step.STARTED))
                await client.command(advance_task(task, Step.PROGRESSED, percentage=5))
    arguments = (f"{MODULE}:tasks", "--other", f"{MODULE}:other_tasks")
    found = document(run(*arguments, "--json"))
    assert (found["diverged"], found["first"]["where"]) == (1, "task:t2")
    record = found["first"]["record"]
    assert record.startswith(f"{bench.namespace.name}.events[")
    [started] = [one for one in bench.records("events") if str(one) == record]
    assert CODEC.decode(started.value, started.headers).stream_version == 2
    assert [one["path"] for one in found["differences"]] == ["task:t2.started_by"]
    assert "this" not in found["differences"][0]
    assert "task:t2.started_by" in run(*arguments).stdout
    built_in = document(run("streams", "--other", f"{MODULE}:other_tasks", "--json"))
    assert built_in["first"] == found["first"]
    assert document(run("streams", "--other", f"{MODULE}:tasks", "--json"))["equal"]


def test_what_cannot_be_compared_says_why(run: Run, tmp_path: Path) -> None:
    """Nothing to compare with, two of different kinds, no schemas, no such moment."""
    for arguments, problem in (
        (("state",), "what-if compares two"),
        (("state", "--other", f"{MODULE}:tasks"), "compare two alike"),
        (("state", "--other", f"{MODULE}:nothing"), "has no nothing"),
        (("state", "--schemas", str(tmp_path)), "no <family>/<Type>.avsc below"),
        (("state", "--other", f"{MODULE}:state", "--at", "@nothing"), "nothing"),
    ):
        result = run(*arguments)
        assert isinstance(result.exception, (ConfigurationError, LogError))
        assert problem in str(result.exception)
    assert run("state", "--schemas", str(tmp_path / "none")).exit_code == 2
