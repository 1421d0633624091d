"""`agentlog publish`, `tail` and `topics` as their users run them: stdout, stderr, exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from msgspec import structs

from streams.kafka.admin import TopicAdmin
from streams.topics import TOPICS, Namespace


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def agentlog(kafka: str, namespace: str) -> Run:
    def run(*arguments: str, **environment: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-c", "from consumers.cli import main; main()", *arguments],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
            env={
                **os.environ,
                "AGENTLOG_BOOTSTRAP_SERVERS": kafka,
                "AGENTLOG_NAMESPACE": namespace,
                **environment,
            },
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


def write(path: Path, *lines: Any) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def message(n: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"msg-{n:013d}-aaaaaaaaa",
        "from": "ann",
        "to": "bob",
        "type": "request",
        "timestamp": "2026-01-31T12:00:00Z",
        "payload": {"n": n},
        "channel_id": "docs",
        **fields,
    }


def test_s3_04_a_published_file_is_on_the_log_and_its_bad_lines_are_named(
    agentlog: Run, tmp_path: Path, namespace: str
) -> None:
    """S3.4: the good lines go, the bad ones are errors that reach the caller (exit code 1)."""
    file = write(tmp_path / "f.jsonl", message(1), message(2, to=""), message(3))
    strict = agentlog("publish", "--file", file, "--strict", "--json")
    assert (strict.code, strict.document["published"], strict.document["refused"]) == (1, 0, True)
    first = agentlog("publish", "--file", file, "--name", "mine", "--json")
    assert first.code == 1
    assert first.document == {
        "origin": "import:mine",
        "read": 3,
        "published": 2,
        "already_present": 0,
        "duplicates": 0,
        "bad": [{"line": 2, "reason": "Missing required field: to"}],
        "refused": False,
    }
    again = agentlog("publish", "--file", file)
    assert again.code == 1
    assert again.out == ""
    assert "line 2: Missing required field: to" in again.err
    assert "0 published, 2 already present" in again.err
    seen = agentlog("tail", "--from", "start", "--json", "--agent", "bob", "--channel", "docs")
    lines = [json.loads(line) for line in seen.out.splitlines()]
    assert [line["envelope"]["payload"] for line in lines] == [{"n": 1}, {"n": 3}]
    assert [line["envelope"]["headers"]["import_seq"] for line in lines] == ["1", "3"]
    assert {line["topic"] for line in lines} == {f"{namespace}.inbox"}
    pretty = agentlog("tail", "inbox", "-n", "1")
    assert "ann → bob" in pretty.out


def test_a_good_file_ends_with_0(agentlog: Run, tmp_path: Path) -> None:
    done = agentlog("publish", "--file", write(tmp_path / "f.jsonl", message(1)))
    assert (done.code, done.out) == (0, "")
    assert "created 17 topics" in done.err


def test_topics_are_planned_applied_and_then_as_they_should_be(
    agentlog: Run, namespace: str
) -> None:
    before = agentlog("topics", "diff", "--json")
    assert (before.code, len(before.document["actions"])) == (1, len(TOPICS))
    planned = agentlog("topics", "apply", "--dry-run", "--json")
    assert (planned.code, planned.document["applied"]) == (0, False)
    applied = agentlog("topics", "apply", "--yes", "--json")
    assert (applied.code, applied.document["applied"]) == (0, True)
    after = agentlog("topics", "diff", "--json")
    assert (after.code, after.document) == (
        0,
        {
            "namespace": namespace,
            "in_sync": True,
            "actions": [],
            "warnings": [],
            "refusals": [],
            "extra": [],
        },
    )


def test_a_plan_that_is_refused_is_shown_and_nothing_is_done(
    agentlog: Run, kafka: str, namespace: str
) -> None:
    few = {"events": structs.replace(TOPICS["events"], partitions=4)}
    TopicAdmin(kafka).provision(Namespace(namespace), few)
    done = agentlog("topics", "apply", "--yes", "--json")
    assert done.code == 2
    assert (done.document["applied"], len(done.document["refusals"])) == (False, 1)
    assert len(TopicAdmin(kafka).topics(Namespace(namespace))) == 1


def test_topics_list_needs_no_broker(agentlog: Run) -> None:
    listed = agentlog("topics", "list", "--json", AGENTLOG_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert listed.code == 0
    assert {topic["logical"] for topic in listed.document["topics"]} == TOPICS.keys()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("publish", "--file", "nowhere.jsonl"), 2, "cannot read nowhere.jsonl"),
        (("tail", "gossip"), 2, "no topic 'gossip'"),
        (("tail", "--from", "yesterday"), 2, "not a position"),
        (("tail", "--from", "1:2", "--follow"), 2, "leave out --to and --follow"),
    ],
)
def test_wrong_arguments_end_with_2_and_one_sentence(
    agentlog: Run, arguments: tuple[str, ...], code: int, text: str
) -> None:
    done = agentlog(*arguments)
    assert (done.code, done.out) == (code, "")
    assert text in done.err
    assert "Traceback" not in done.err


def test_no_broker_ends_with_3(agentlog: Run) -> None:
    done = agentlog("topics", "diff", AGENTLOG_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert (done.code, done.out) == (3, "")
