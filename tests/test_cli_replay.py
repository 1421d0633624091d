"""`agentlog replay`, `state` and `diff` on Kafka: what is wrong is named, a killed one goes on."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from typer.testing import CliRunner

from consumers.cli.main import app as cli
from consumers.projections import AgentState
from consumers.replay import replay
from streams.cuts import Cut
from streams.errors import AgentlogError, ConfigurationError, LogError
from streams.kafka.admin import TopicAdmin
from streams.kafka.configs import SILENT
from streams.topics import EVENTS, INBOX, TASKS
from streams.topics.partitioning import partition_for
from tests.consumers.worker.harness import CODEC, Bench, assign_task

Run = Callable[..., Any]
DEADLINE_S = 120.0

OWN = """
from consumers.projections import AgentState


class Broken(AgentState, frozen=True):
    def apply(self, state, record, envelope):
        return state["no such agent"]


class Unshown(AgentState, frozen=True):
    def view(self, state):
        return {"agents": state["no such agent"]}


class Misspelt(AgentState, frozen=True):
    topics: tuple[str, ...] = ("taks",)


class Forgetful(AgentState, frozen=True):
    topics: tuple[str, ...] = ("state",)


class Blind(AgentState, frozen=True):
    def apply(self, state, record, envelope):
        return state


broken, unshown, misspelt = Broken(), Unshown(), Misspelt()
forgetful, blind = Forgetful(), Blind()
"""

WAITING = '''
import os, pathlib, time
from consumers.projections import AgentState


class Waiting(AgentState, frozen=True):
    """Stops at one task while a file says so, and tells that it is there."""

    def apply(self, state, record, envelope):
        if envelope.payload["task"]["id"] == "t39":
            there = pathlib.Path(os.environ["WAIT_HERE"])
            while there.exists():
                there.with_suffix(".reached").touch()
                time.sleep(0.02)
        return super().apply(state, record, envelope)


projection = Waiting()
'''

AGENTLOG = """
import consumers.replay as replay
from consumers.cli import main
replay.KEEP_AFTER_S = 0.0
if {processes}:
    replay.PROCESS_RECORDS_MIN = {{True: 1, False: 1}}
if __name__ == "__main__":
    main()
"""


@pytest.fixture
def bench(kafka: str, namespace: str) -> Bench:
    """A namespace with its topics."""
    return Bench(kafka, namespace)


@pytest.fixture
def run(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """`agentlog` in that namespace and in a folder with projections of somebody's own."""
    monkeypatch.setenv("AGENTLOG_BOOTSTRAP_SERVERS", bench.servers)
    monkeypatch.setenv("AGENTLOG_NAMESPACE", bench.namespace.name)
    monkeypatch.setattr("consumers.cli.replaying.kept_home", lambda: tmp_path / "replays")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)
    yield lambda *arguments: CliRunner().invoke(cli, list(arguments))
    sys.modules.pop("own", None)


def refused(ran: Any, kind: type[AgentlogError], why: str) -> None:
    """It ended with one sentence."""
    assert isinstance(ran.exception, kind), (ran.exception, ran.output)
    assert re.search(why, str(ran.exception)), ran.exception
    assert ran.stdout == ""


def cut_now(run: Run) -> Cut:
    return Cut.decode(run("cut", "now").stdout.strip())


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S:g} s: {what}"
        time.sleep(0.05)


def test_cuts_that_are_not_of_this_log_are_refused(bench: Bench, run: Run) -> None:
    """Beyond its end, of another cluster, of another namespace: each says so, and the way out."""
    bench.send([assign_task(n, "k") for n in range(5)])
    now = cut_now(run)
    beyond = msgspec.structs.replace(now, ends={source: end + 9 for source, end in now})
    elsewhere = msgspec.structs.replace(now, cluster_id="elsewhere")
    foreign = msgspec.structs.replace(now.of(()), topic_ids={"other.tasks": "x"}, ends={})
    for cut, why in (
        (beyond, r"ends .*\[\d\] at \d+, the log only reaches \d+: .*agentlog cut now"),
        (elsewhere, "is of cluster elsewhere, this is .*AGENTLOG_BOOTSTRAP_SERVERS"),
        (foreign, r"does not cover topic .*, only other\.tasks; .*agentlog cut now"),
    ):
        for command in (("replay", "metrics"), ("state",), ("replay", "projection", "own:blind")):
            refused(run(*command, "--at", cut.encode(), "--json"), LogError, why)
    refused(run("state", "--at", "cut1:junk"), ConfigurationError, "not a cut: 'cut1:junk'")


def test_a_history_that_retention_has_shortened_is_refused(bench: Bench, run: Run) -> None:
    """At every cut, also one before what is there; partition and positions are named."""
    bench.send([assign_task(n, "k") for n in range(10)])
    before = cut_now(run)
    (record, *_) = bench.records(TASKS)
    where = TopicPartition(record.topic, record.partition, 4)
    admin = AdminClient({"bootstrap.servers": bench.servers}, logger=SILENT)
    for future in admin.delete_records([where]).values():
        future.result(30)
    why = rf"tasks\[{record.partition}\] begins at 4: the records from 0 on were removed"
    early = {**before.ends, record.source: 2}
    for at in ("now", before.encode(), msgspec.structs.replace(before, ends=early).encode()):
        refused(run("replay", "metrics", "--at", at), LogError, why)
        refused(run("diff", "boss", "--from", at), LogError, why)
    partitions = len(bench.reader.starts([record.topic]))
    elsewhere = next(
        key
        for key in map(str, range(1_000))
        if partition_for(key.encode(), partitions) != record.partition
    )
    assert run("replay", "projection", "own:blind", "--key", elsewhere).exception is None


def test_a_topic_that_was_made_anew_is_another(bench: Bench, run: Run) -> None:
    """A cut of the old one means nothing on the new one, however many records it has."""
    bench.send([assign_task(n, "k") for n in range(3)])
    before = cut_now(run)
    topic = bench.namespace.topic(TASKS)
    topics = TopicAdmin(bench.servers)
    topics.delete([topic])
    until(
        lambda: topic not in {one.name for one in topics.topics(bench.namespace)}, "it is deleted"
    )
    again = Bench(bench.servers, bench.namespace.name)
    again.send([assign_task(n, "k") for n in range(9)])
    refused(
        run("replay", "metrics", "--at", before.encode()),
        LogError,
        f"topic {topic} was deleted and made anew.*agentlog cut now",
    )


def test_topics_that_are_not_there_are_named(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a projection, or in a namespace that nobody has provided."""
    refused(run("replay", "projection", "own:misspelt"), ConfigurationError, "'taks'.*mean tasks")
    refused(run("replay", "projection", "own:forgetful"), ConfigurationError, "'state'.*compacted")
    refused(run("replay", "projection", "own:OWN"), ConfigurationError, "has no OWN")
    refused(run("replay", "projection", "own:Broken.apply"), ConfigurationError, "no projection")
    monkeypatch.setenv("AGENTLOG_NAMESPACE", "nobody-made-it")
    for command in (("replay", "metrics"), ("state",), ("diff", "a", "--from", "-1h")):
        refused(run(*command), LogError, "nobody-made-it.* does not exist; `agentlog topics apply`")


def test_filters_that_find_nothing_are_named(bench: Bench, run: Run) -> None:
    """An agent, key, correlation, channel or origin that is nowhere is misspelt."""
    bench.send([assign_task(1, "k", recipients=("a1",))])
    refused(run("state", "nobody"), LogError, "no agent 'nobody'.*up to now.*agentlog state")
    refused(run("diff", "nobody", "--from", "-1h"), LogError, "no agent 'nobody'.*agentlog state")
    for name in ("agent", "key", "correlation", "channel", "origin"):
        why = f"no record up to now passes --{name} nothing: .*agentlog tail"
        refused(run("replay", "metrics", f"--{name}", "nothing"), AgentlogError, why)
        ran = run("replay", "projection", "own:blind", f"--{name}", "nothing", "--json")
        assert json.loads(ran.stdout) == {"agents": {}}
        assert f"--{name} nothing changed its state" in ran.stderr
    refused(run("state", "a1", "--agent", "a2"), ConfigurationError, "which agent")
    refused(run("state", "--type", "AsignTask"), ConfigurationError, "did you mean AssignTask")
    ran = run("replay", "metrics", "--type", "TaskFinished", "--json")
    assert json.loads(ran.stdout)["messages_sent"] == 0  # known, and none yet: an answer
    known = json.loads(run("state", "a1", "--json").stdout)
    assert known["agents"] == json.loads(run("state", "--agent", "a1", "--json").stdout)["agents"]


def test_a_fold_that_raises_is_named_with_its_record(bench: Bench, run: Run) -> None:
    """And with the line; so is a view."""
    bench.send([assign_task(1, "k", recipients=("a1",))])
    (record,) = bench.records(TASKS)
    place = re.escape(f"{TASKS}[{record.partition}]@{record.position}")
    why = rf"projection state failed on .*{place}: KeyError: 'no such agent' \(.*own\.py:\d+\)"
    refused(run("replay", "projection", "own:broken"), AgentlogError, why)
    why = r"projection state failed on its view: KeyError.*own\.py:\d+\)"
    refused(run("replay", "projection", "own:unshown"), AgentlogError, why)


def test_what_cannot_be_decoded_is_counted_and_named(bench: Bench, run: Run) -> None:
    """The rest is folded; in a diff as well."""
    bench.send([assign_task(1, "k", recipients=("a1",))])
    with bench.raw_producer() as producer:
        for logical, value in ((TASKS, b"junk"), (INBOX, b""), (EVENTS, b"\x00\x7f\xff\xff\xffx")):
            producer.produce(bench.namespace.topic(logical), value, b"k")
    for command in (("state",), ("replay", "metrics")):
        ran = run(*command, "--json")
        document = json.loads(ran.stdout)
        assert document["undecodable"] == 3
        assert document["records"] == 4
        first = bench.records(EVENTS)[0]
        assert document["first_undecodable"].startswith(f"{first}: schema id ")
        assert "3 records could not be decoded" in ran.stderr
    ran = run("replay", "metrics", "--json", "--key", "k")
    assert json.loads(ran.stdout)["undecodable"] == 3
    ran = run("diff", "a1", "--from", "-1h", "--json")
    assert "3 records could not be decoded" in ran.stderr
    assert json.loads(ran.stdout)["records_changed"] == 1


def test_a_diff_names_the_first_records_and_counts_the_others(bench: Bench, run: Run) -> None:
    """Those that changed something: of a message to several, one copy."""
    bench.send([assign_task(1, "k", recipients=("a1",))])
    run("cut", "save", "before")
    message = {"kind": "notification", "payload": {"json": "{}"}, "type": "agentlog.Json"}
    bench.send([assign_task(n, "k", recipients=("a1",)) for n in range(2, 7)])
    bench.send([assign_task(7, "k", recipients=("a2", "a1"), **message)])
    document = json.loads(run("diff", "a1", "--from", "@before", "--records", "2", "--json").stdout)
    assert document["records_changed"] == 6
    assert [one["id"][-1] for one in document["records"]] == ["2", "3"]
    changes = {one["path"]: one["after"] for one in document["changes"]}
    now = json.loads(run("state", "a1", "--json").stdout)["agents"]["a1"]
    assert changes["tasks_assigned"] == now["tasks_assigned"] == 6
    ran = run("diff", "a1", "--from", "@before", "--records", "2")
    assert "and 4 records more" in ran.stderr
    none = json.loads(run("diff", "a1", "--from", "@before", "--records", "0", "--json").stdout)
    assert none["records"] == []


class Agentlog:
    """Commands in processes of their own, which may be killed."""

    def __init__(self, bench: Bench, folder: Path, *, processes: bool) -> None:
        self.folder = folder
        self.kept = folder / "cache" / "agentlog" / "replays"
        self.wait_here = folder / "wait"
        self.reached = folder / "wait.reached"
        (folder / "waiting.py").write_text(WAITING)
        (folder / "run.py").write_text(AGENTLOG.format(processes=processes))
        self._environment = {
            **os.environ,
            "AGENTLOG_BOOTSTRAP_SERVERS": bench.servers,
            "AGENTLOG_NAMESPACE": bench.namespace.name,
            "XDG_CACHE_HOME": str(folder / "cache"),
            "WAIT_HERE": str(self.wait_here),
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "run.py", *arguments],
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def done(self, *arguments: str) -> tuple[str, str]:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
        return out, err

    def files(self) -> list[Path]:
        return sorted(self.kept.rglob("*.state"))


def descendants(pid: int) -> set[int]:
    """Processes that it started, and those that they did."""
    found = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found |= {child} | descendants(child)
    return found


def runs(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("processes", [False, True], ids=["thread", "processes"])
def test_a_killed_replay_goes_on_where_it_was(
    bench: Bench, tmp_path: Path, processes: bool
) -> None:
    """By itself, says so, comes to the same state, and leaves neither files nor processes."""
    bench.send([assign_task(n, f"k{n}", recipients=(f"a{n % 3}",)) for n in range(40)])
    agentlog = Agentlog(bench, tmp_path, processes=processes)
    command = ("replay", "projection", "waiting:projection", "--json")
    agentlog.wait_here.touch()
    killed = agentlog.start(*command, "--processes", "2")
    ranges = sum(1 for _, end in bench.reader.ends([bench.namespace.topic(TASKS)]) if end)
    try:
        until(lambda: agentlog.reached.exists() or killed.poll() is not None, "it is at task 39")
        least = 1 if processes else 0
        until(lambda: len(agentlog.files()) >= least, "something is kept")
        children = descendants(killed.pid)
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait(DEADLINE_S)
    assert bool(children) == processes
    until(lambda: not any(map(runs, children)), "its processes have ended with it")
    agentlog.wait_here.unlink()
    kept = agentlog.files()
    again, said = agentlog.done(*command, "--processes", "1")
    whole = replay(AgentState(), reader=bench.reader, namespace=bench.namespace, codec=CODEC)
    assert json.loads(again) == AgentState().view(whole.state)
    assert ("going on where an earlier replay was stopped" in said) == bool(kept)
    assert len(kept) < ranges
    assert agentlog.files() == []


def test_a_process_that_is_killed_is_one_sentence(bench: Bench, tmp_path: Path) -> None:
    """For its memory, say; what was kept is there for the next run."""
    bench.send([assign_task(n, f"k{n}", recipients=("a",)) for n in range(40)])
    agentlog = Agentlog(bench, tmp_path, processes=True)
    agentlog.wait_here.touch()
    started = agentlog.start("replay", "projection", "waiting:projection", "--processes", "2")
    until(lambda: agentlog.reached.exists() or started.poll() is not None, "it is at task 39")
    workers = [
        pid
        for pid in descendants(started.pid)
        if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text()
    ]
    os.kill(workers[0], signal.SIGKILL)
    agentlog.wait_here.unlink()
    _, said = started.communicate(timeout=DEADLINE_S)
    assert started.returncode == 1
    assert "a process of this replay was killed" in said
    assert "Traceback" not in said
    agentlog.done("replay", "projection", "waiting:projection", "--processes", "1")
    assert agentlog.files() == []


def test_an_agent_from_kept_rows_is_what_a_replay_tells(
    bench: Bench, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """At any moment, to which the rows are brought first; for one agent, without other filters."""
    monkeypatch.setenv("AGENTLOG_STORE", f"sqlite:///{tmp_path / 'rows.sqlite'}")
    bench.send([assign_task(n, f"key-{n % 5}", recipients=(f"a{n % 3}",)) for n in range(60)])
    before = cut_now(run).encode()
    bench.send([assign_task(n, f"key-{n % 5}", recipients=("a1",)) for n in range(60, 75)])
    for at in (before, "now"):
        kept = json.loads(run("state", "a1", "--kept", "--at", at, "--json").stdout)
        folded = json.loads(run("state", "a1", "--at", at, "--json").stdout)
        assert kept["agents"] == folded["agents"]
        assert kept["stored"] > 0
        assert kept["cut"] == folded["cut"] or at == "now"
    assert kept["agents"]["a1"]["tasks_assigned"] == 35
    assert "a1" in run("state", "a1", "--kept").stdout
    refused(run("state", "a9", "--kept"), LogError, "no agent 'a9' sent or was sent")
    why = "--kept is for one agent, without other filters"
    refused(run("state", "--kept"), ConfigurationError, why)
    refused(run("state", "a1", "--kept", "--key", "key-1"), ConfigurationError, why)
