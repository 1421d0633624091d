"""The main job as a newcomer runs it, and each of its proofs when it must fail."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka.admin import AdminClient
from rich.console import Console
from typer.testing import CliRunner

from consumers.cli.main import app as cli
from consumers.demo import ledger, proof
from consumers.demo.figures import Share, Work, recovered_s, shares
from consumers.demo.ledger import Ledger, Run
from consumers.demo.report import Report, show
from consumers.demo.run import HISTORY
from streams.errors import ProofFailed
from streams.record import Record

SMALL = ("--workers", "2", "--pods", "1", "--jobs", "50")
DEADLINE_S = 240

REPORT = Report(
    namespace="demo-0",
    history="history.jsonl",
    imported=10,
    live=20,
    published=30,
    first_envelope_s=1.0,
    publish_per_s=100.0,
    throughput_per_s=50.0,
    delivery_ms={"p50": 3, "max": None},
    work=[Share(1, 5, 0, killed=True), Share(2, 5, 10, killed=False)],
    killed_pid=1,
    recovered_s=None,
    lost=0,
    duplicated=0,
    reordered=0,
    unhandled=0,
    untiled=0,
    redelivered=2,
    faults=[],
    state_digest_live="sha256:a",
    state_digest_replayed="sha256:a",
    metrics_digest_live="sha256:b",
    metrics_digest_replayed="sha256:b",
    fold_faults=[],
    oracle_equal=True,
    oracle_differences=[],
    rebuilt=60,
    rebuild_per_s=600.0,
    story=None,
    total_s=9.0,
)


@contextmanager
def demo(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A demo; ended at the end, if it has not come to its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "consumers.cli", "demo", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.communicate()


def left_on(kafka: str) -> set[str]:
    """Topics of demos that are still on the cluster."""
    found = AdminClient({"bootstrap.servers": kafka}).list_topics(timeout=30).topics
    return {name for name in found if name.startswith("demo-")}


@pytest.mark.timeout(DEADLINE_S + 20)
def test_the_demo_proves_everything_and_leaves_nothing_behind(kafka: str) -> None:
    """`agentlog demo --json`: one object with every figure, exit code 0, no topics left."""
    before = left_on(kafka)
    with demo("--json", *SMALL, AGENTLOG_BOOTSTRAP_SERVERS=kafka) as process:
        out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert {name: found[name] for name in ("lost", "duplicated", "reordered")} == {
        "lost": 0,
        "duplicated": 0,
        "reordered": 0,
    }
    assert (found["unhandled"], found["untiled"], found["faults"]) == (0, 0, [])
    for state in ("state", "metrics"):
        assert found[f"{state}_digest_live"] == found[f"{state}_digest_replayed"] != ""
    assert found["fold_faults"] == []
    assert (found["ok"], found["oracle_equal"], found["oracle_differences"]) == (True, True, [])
    assert found["imported"] == 5758
    assert found["published"] == found["imported"] + found["live"] > 5758
    assert found["redelivered"] >= 0
    assert found["rebuild_per_s"] > 0
    story = found["story"]
    assert story["then"]["tasks_assigned"] <= story["now"]["tasks_assigned"] > 0
    records = [one["record"] for node in story["trace"]["nodes"] for one in node["records"]]
    assert any(record.endswith(f".{story['record']}") for record in records)
    killed = [share for share in found["work"] if share["killed"]]
    assert [share["pid"] for share in killed] == [found["killed_pid"]]
    assert killed[0]["before_kill"] > 0
    assert sum(share["after_kill"] for share in found["work"]) > 0
    assert left_on(kafka) <= before


@pytest.mark.timeout(DEADLINE_S + 20)
def test_a_demo_that_is_terminated_ends_what_it_started(kafka: str, tmp_path: Path) -> None:
    """SIGTERM in the middle, as from `timeout` or a CI: no process stays, no topic."""
    before = left_on(kafka)
    with demo(*SMALL, AGENTLOG_BOOTSTRAP_SERVERS=kafka, TMPDIR=str(tmp_path)) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not any(path.stat().st_size for path in tmp_path.glob("agentlog-demo-*/ledger")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert list(tmp_path.glob("agentlog-demo-*")) == []
    assert left_on(kafka) <= before
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.parametrize(
    ("fault", "fails"),
    [
        ({"lost": 1}, "nothing lost"),
        ({"duplicated": 1}, "nothing duplicated"),
        ({"reordered": 1}, "nothing reordered"),
        ({"unhandled": 1}, "all work done"),
        ({"unhandled": -1}, "all work done"),
        ({"untiled": 1}, "every record ended exactly once"),
        ({"state_digest_replayed": "sha256:x"}, "agent state: replayed = live"),
        ({"metrics_digest_live": "sha256:x"}, "metrics: replayed = live"),
        ({"fold_faults": ["ns.tasks[0]@7: differs"]}, "in any order, in any process"),
        (
            {"oracle_equal": False, "oracle_differences": ["by_type.event: 1, 2"]},
            "history = its oracle",
        ),
    ],
)
def test_each_proof_can_fail_and_fails_the_command(
    fault: dict[str, Any], fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report says which, stdout stays one object, and the command ends with the error."""
    report = msgspec.structs.replace(REPORT, **fault)
    assert [name for name, holds in report.proofs.items() if not holds] == [fails]
    monkeypatch.setattr("consumers.cli.demo.run", lambda *_: report)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    ended = CliRunner().invoke(cli, ["demo", "--json"])
    assert isinstance(ended.exception, ProofFailed)
    assert fails in str(ended.exception)
    assert ended.exception.exit_code == 1
    assert json.loads(ended.stdout)["ok"] is False
    console = Console(width=100, record=True, file=io.StringIO())
    show(report, console)
    shown = console.export_text()
    assert "Not proven" in shown
    assert all(text in shown for text in (*report.fold_faults, *report.oracle_differences))


def test_a_corrupted_oracle_is_told_by_its_differing_keys() -> None:
    """By path, with both values."""
    oracle = json.loads(HISTORY.with_name("history-small.oracle.json").read_text())
    wrong = json.loads(json.dumps(oracle))
    wrong["by_sender"]["agent-1"] += 1
    del wrong["by_status"]
    assert proof.differences(oracle, oracle) == []
    by_sender, by_status, *_ = proof.differences(wrong, oracle)
    assert by_sender.startswith("by_sender['agent-1']: ")
    assert by_status.startswith("by_status: ")


def test_the_ledger_counts_every_run_of_every_process(tmp_path: Path) -> None:
    """A torn last entry, of a process killed while it wrote, counts for nothing."""
    path = tmp_path / "ledger"
    assert (ledger.count(path), list(ledger.read(path))) == (0, [])
    notes = Ledger(path)
    for position in (1, 2, 2):
        notes.note(Record("ns.tasks", 3, position, 0, None, None))
    with path.open("ab") as file:
        file.write(b"torn")
    runs = list(ledger.read(path))
    assert (ledger.count(path), len(runs), ledger.redelivered(runs)) == (3, 3, 1)
    assert {(run.pid, run.partition) for run in runs} == {(os.getpid(), 3)}


def test_shares_and_recovery_are_told_by_the_kill() -> None:
    """What each process did before and after, and when somebody else took over."""
    work = Work(killed=1, killed_ms=100, seconds=1.0, expected=4)
    runs = [Run(1, 90, 7, 0, 0), Run(2, 95, 7, 1, 0), Run(2, 300, 7, 1, 1), Run(3, 2_100, 7, 0, 0)]
    assert [(one.pid, one.before_kill, one.after_kill) for one in shares(runs, work)] == [
        (1, 1, 0),
        (2, 1, 1),
        (3, 0, 1),
    ]
    assert recovered_s(runs, work) == 2.0
    assert recovered_s(runs[:3], work) is None
