"""`agentlog cut` on real Kafka: moments taken, named on the log, and used by other commands."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from consumers.cli.main import app as cli
from streams.cuts import Cut
from streams.errors import ConfigurationError, LogError
from streams.saved_cuts import check_name, read_saved
from streams.topics import STATE, TASKS
from tests.consumers.worker.harness import CODEC, Bench, assign_task

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


def cut_of(result: Any) -> Cut:
    """What a command printed."""
    assert result.exit_code == 0, result.exception
    return Cut.decode(result.stdout.strip())


def test_a_cut_is_taken_named_and_means_the_same_from_then_on(bench: Bench, run: Run) -> None:
    """Of now, of a time, by its name; whoever has the log has the name."""
    bench.send([assign_task(n, "k") for n in range(5)])
    before = cut_of(run("cut", "now", "-t", TASKS))
    assert sum(before.ends.values()) == 5
    saved = run("cut", "save", "before", "--note", "for the test")
    assert "saved as @before" in saved.stderr
    bench.send([assign_task(n, "k") for n in range(5, 9)])
    assert sum(cut_of(run("cut", "now", "-t", TASKS)).ends.values()) == 9
    assert cut_of(run("cut", "at", "@before", "-t", TASKS)) == before
    assert sum(cut_of(run("cut", "at", "2020-01-01T00:00:00Z", "-t", TASKS)).ends.values()) == 0
    (listed,) = json.loads(run("cut", "list", "--json").stdout)["cuts"]
    assert (listed["name"], listed["note"]) == ("before", "for the test")
    assert "before" in run("cut", "list").stdout
    replayed = json.loads(run("replay", "state", "--at", "@before", "--json").stdout)
    assert replayed["agents"]["boss"]["sent"] == {"task_assignment": 5}
    again = run("cut", "save", "before")
    assert "another moment before" in again.stderr
    assert sum(cut_of(run("cut", "at", "@before", "-t", TASKS)).ends.values()) == 9


def test_a_cut_of_a_record_ends_just_behind_it(bench: Bench, run: Run) -> None:
    """On its partition; the others end with what was appended by then."""
    bench.send([assign_task(n, f"k{n}") for n in range(40)])
    records = bench.records(TASKS)
    some = records[len(records) // 2]
    place = f"tasks[{some.partition}]@{some.position}"
    document = json.loads(run("cut", "of", place, "-t", TASKS, "--json").stdout)
    cut = Cut.decode(document["cut"])
    assert cut.ends[some.source] == some.position + 1
    for one in records:
        if one.partition != some.partition:
            inside = one.position < cut.ends[one.source]
            assert inside == (one.appended_at_ms <= some.appended_at_ms)
    assert document["ends"][some.topic][str(some.partition)] == some.position + 1


def test_a_cut_in_a_file_is_written_as_a_path(bench: Bench, run: Run, tmp_path: Path) -> None:
    """So that no file in the current folder changes what a name means."""
    bench.send([assign_task(1, "k")])
    file = tmp_path / "kept"
    file.write_text(run("cut", "now").stdout, encoding="utf-8")
    bench.send([assign_task(2, "k")])
    assert sum(cut_of(run("cut", "at", f"@{file}", "-t", TASKS)).ends.values()) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "why"),
    [
        (("at", "@nobody"), ConfigurationError, "there are: none.*cut save nobody.*@./nobody"),
        (("at", "yesterday"), ConfigurationError, "not a moment"),
        (("now", "-t", "nothing"), ConfigurationError, "no topic 'nothing' to cut"),
        (("now", "-t", STATE), ConfigurationError, "no topic 'state' to cut"),
        (("of", "tasks"), ConfigurationError, "not a record"),
        (("of", "tasks[0]@999"), LogError, "has positions 0 to"),
        (("of", "tasks[99]@0"), LogError, "has no partition 99"),
        (("save", "a/b"), ConfigurationError, "cannot be called"),
    ],
)
def test_what_is_wrong_is_named(
    run: Run, arguments: tuple[str, ...], error: type[Exception], why: str
) -> None:
    """One sentence, with the way out."""
    failed = run("cut", *arguments)
    assert isinstance(failed.exception, error), failed
    assert re.search(why, str(failed.exception)), failed.exception


def test_names_and_what_is_no_cut(bench: Bench) -> None:
    """Anybody may write to the log: what is no saved cut is passed over."""
    assert check_name("v1.2_a-b") == "v1.2_a-b"
    with pytest.raises(ConfigurationError):
        check_name("")
    with bench.raw_producer() as producer:
        topic = bench.namespace.topic(STATE)
        producer.produce(topic, b"junk", b"cut/x", headers=[("type", b"agentlog.cut.CutSaved")])
        producer.produce(topic, None, b"cut/y")
    assert read_saved(bench.records(STATE), CODEC) == {}
