"""`agentlog trace` and the index behind it, on real Kafka with a real worker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.app import App
from consumers.cli.main import app as cli
from consumers.context import Context
from streams.errors import ConfigurationError, LogError, NonRetriable
from streams.topics import TASKS
from tests.consumers.worker.harness import ASSIGN, Bench, assign_task, status, until

Run = Callable[..., Any]


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


@pytest.fixture
def run(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`agentlog` in that namespace, with a database of its own."""
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", bench.servers)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", bench.namespace.name)
    monkeypatch.setenv("AGENTLOG_STORE", f"sqlite:///{tmp_path / 'index.sqlite'}")
    return lambda *arguments: CliRunner().invoke(cli, list(arguments))


async def work(bench: Bench) -> None:
    """One worker: every task is followed by a status, but the third fails for good."""
    app = App("fleet", topics=(TASKS,))

    @app.on(ASSIGN)
    async def on_assign_task(ctx: Context, payload: Mapping[str, Any]) -> None:
        if payload["task"]["id"] == "t3":
            raise NonRetriable("this one cannot be done")
        await ctx.publish(status(payload["task"]["id"], ctx.envelope.id))

    async with bench.working(app) as task:
        await until(lambda: bench.caught_up("fleet"), "all committed", task=task, every_s=0.2)


def test_a_correlation_is_traced_with_what_came_of_it(
    bench: Bench, run: Run, tmp_path: Path
) -> None:
    """Two correlations are interleaved; each shows its own alone, as a tree, as JSON, as a page."""
    tasks = [assign_task(n, "even" if n % 2 == 0 else "odd") for n in range(6)]
    bench.send(tasks)
    asyncio.run(work(bench))
    page = tmp_path / "odd.html"
    done = run("trace", "odd", "--json", "--html", str(page))
    assert done.exit_code == 0, done.exception
    document = json.loads(done.stdout)
    assert (document["correlation_id"], document["positions_behind"]) == ("odd", 0)
    nodes = document["nodes"]
    assert {node["id"] for node in nodes if node["depth"] == 0} == {
        one.id for one in tasks if one.correlation_id == "odd"
    }
    caused = {node["cause"]: node["type"] for node in nodes if node["depth"] == 1}
    assert caused == {one.id: "agentlog.agent.StatusReported" for one in (tasks[1], tasks[5])}
    endings = {node["id"]: node["endings"] for node in nodes if node["depth"] == 0}
    (handled,), (dead,) = endings[tasks[1].id], endings[tasks[3].id]
    assert (handled["group"], handled["outcome"]) == ("fleet", "handled")
    assert handled["waited_ms_max"] >= handled["waited_ms_min"] >= 0
    assert handled["handling_ms_max"] >= 0
    assert (dead["outcome"], dead["reason"]) == ("dead_lettered", "NonRetriable")
    assert (dead["detail"], dead["attempts"]) == ("this one cannot be done", 1)
    assert dead["failed_handlers"] == ["on_assign_task"]
    assert ".tasks.dlq[0]@0" in dead["dead_letter"]
    assert "this one cannot be done" in page.read_text()
    shown = run("trace", "even").stdout
    assert shown.count("boss → ") == 3
    assert "NonRetriable" not in shown
    assert "NonRetriable" in run("trace", tasks[3].id).stdout


def test_what_nobody_used_is_one_clear_error(bench: Bench, run: Run) -> None:
    """With the cut up to which nothing was found."""
    bench.send([assign_task(1, "c")])
    done = run("trace", "nobody's")
    assert isinstance(done.exception, LogError)
    assert done.exception.exit_code == 1
    said = 'nothing has the correlation or message id "nobody\'s" up to cut1:'
    assert str(done.exception).startswith(said)
    assert done.stdout == ""


def test_an_index_that_cannot_catch_up_in_time_says_what_it_lacks(bench: Bench, run: Run) -> None:
    """The trace is of what it has; the next one goes on where it was."""
    bench.send([assign_task(n, "c") for n in range(50)])
    late = run("trace", "c", "--wait", "0")
    assert "the read model index is 50 positions behind the log" in " ".join(late.stderr.split())
    assert str(late.exception).endswith("; the index lacks 50 positions")
    assert json.loads(run("trace", "c", "--json").stdout)["positions_behind"] == 0


def test_a_page_that_cannot_be_written_is_an_error(bench: Bench, run: Run, tmp_path: Path) -> None:
    """Which file it was is said."""
    bench.send([assign_task(1, "c")])
    done = run("trace", "c", "--html", str(tmp_path / "no" / "such" / "folder.html"))
    assert isinstance(done.exception, ConfigurationError)
    assert "folder.html" in str(done.exception)


def test_the_index_is_kept_and_shown_and_rebuilt_as_projections_are(bench: Bench, run: Run) -> None:
    """Under one command; what has states instead of rows says how those are made anew."""
    assert "has no rows here yet" in str(run("projections", "show", "index").exception)
    bench.send([assign_task(n, "c") for n in range(5)])
    first = json.loads(run("projections", "rebuild", "index", "--json").stdout)
    assert (first["records"], first["resumed"]) == (5, False)
    shown = json.loads(run("projections", "show", "index", "--json").stdout)
    assert shown["rows"] == {"entries": 15, "groups": 0, "outcomes": 0}
    assert shown["generation"] == first["generation"]
    assert "entries" in run("projections", "show", "index").stdout
    again = json.loads(run("projections", "rebuild", "index", "--json").stdout)
    assert (again["generation"] > first["generation"], again["dropped"]) == (True, 1)
    refused = run("projections", "rebuild", "metrics")
    assert isinstance(refused.exception, ConfigurationError)
    assert "raise its version" in str(refused.exception)


def test_rows_that_answer_are_proven(bench: Bench, run: Run) -> None:
    """The index's and the agents', numbers and all, beside what else is stored; then spoilt."""
    bench.send([assign_task(n, f"key-{n % 7}") for n in range(60)])
    asyncio.run(work(bench))
    assert run("trace", "key-1").exit_code == 0
    assert run("state", "boss", "--kept").exit_code == 0
    done = run("prove", "--json")
    assert done.exit_code == 0, done.exception
    proofs = {one["name"]: one for one in json.loads(done.stdout)["proofs"]}
    assert set(proofs) == {"index", "agents", "aggregates"}
    assert proofs["index"]["counts"]["outcomes"] > 0
    assert proofs["agents"]["counts"]["touches"] >= 60
    refused = run("prove", "index", "--at", "now")
    assert isinstance(refused.exception, ConfigurationError)
    shown = run("prove", "agents")
    assert "rows, rebuilt twice" in shown.stdout
