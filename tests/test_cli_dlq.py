"""`agentlog dlq` as its users run it: stdout, stderr, exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import pytest
from confluent_kafka import Producer

from consumers.dead_letters import SOURCES
from streams.dead_letters import dead_letter_headers, unroutable_headers
from streams.envelope import Envelope, Kind
from streams.headers import Header, record_headers
from streams.kafka.admin import TopicAdmin
from streams.kafka.reader import KafkaLogReader
from streams.record import Record
from streams.schemas import Catalogue, Codec
from streams.topics import EVENTS, INBOX, SCHEMAS, TASKS, TOPICS, Namespace, dlq

pytestmark = pytest.mark.timeout(300)
"""One story is a dozen processes; on two busy cores each takes seconds to start."""

CODEC: Final = Codec(Catalogue.load())
NEEDED: Final = {name: TOPICS[name] for name in (TASKS, EVENTS, INBOX, SCHEMAS, *map(dlq, SOURCES))}
COMMAND: Final = (sys.executable, "-c", "from consumers.cli import main; main()", "dlq")


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


class Grave:
    """A namespace with three dead letters: two tasks of `fleet`, and bytes that are no envelope."""

    def __init__(self, servers: str, namespace: str) -> None:
        self.servers = servers
        self.namespace = Namespace(namespace)
        TopicAdmin(servers).provision(self.namespace, NEEDED)
        for n in (1, 2):
            self.bury(self.task(n), "fleet", "TimeoutError", ["on_task"])
        junk = Record(self.namespace.topic(EVENTS), 5, 2, 1, None, b"\x00\x01junk\xff")
        self.bury(junk, "other", "DecodeError", [])

    def task(self, n: int) -> Record:
        envelope = Envelope(
            type="agentlog.Json",
            id=f"msg-{n:013d}-aaaaaaaaa",
            kind=Kind.TASK_ASSIGNMENT,
            sender="boss",
            correlation_id=f"corr-{n}",
            created_at=1_700_000_000_000_000,
            payload={"json": f'{{"n":{n}}}'},
        )
        return Record(
            self.namespace.topic(TASKS),
            3,
            n,
            1,
            f"corr-{n}".encode(),
            CODEC.encode(envelope),
            tuple(record_headers(envelope)),
        )

    def bury(self, record: Record, group: str, error: str, handlers: list[str]) -> None:
        headers = dead_letter_headers(
            record,
            group=self.namespace.group(group),
            handlers=handlers,
            attempts=5,
            error_name=error,
            error_message="no [bold]answer[/bold]",
            stack="Traceback\n  in on_task",
            failed_at_ms=1_700_000_001_000,
            context={"app": group, "agent": "agent-7"},
        )
        self.put(dlq(record.topic), record, headers)

    def put(self, topic: str, record: Record, headers: list[Header]) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        producer.produce(topic, record.value, record.key, headers=list(headers))
        assert producer.flush(30) == 0

    def count(self, logical: str) -> int:
        topic = self.namespace.topic(logical)
        with KafkaLogReader(self.servers) as reader:
            parts = reader.ends([topic])
            return sum(len(batch) for part, end in parts for batch in reader.read(part, 0, end))


@pytest.fixture
def grave(kafka: str, namespace: str) -> Grave:
    return Grave(kafka, namespace)


@pytest.fixture
def environment(kafka: str, namespace: str) -> dict[str, str]:
    return {
        **os.environ,
        "AGENTLOG_BOOTSTRAP_SERVERS": kafka,
        "AGENTLOG_NAMESPACE": namespace,
        "COLUMNS": "160",
    }


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    def run(*arguments: str, **changes: str) -> Ran:
        done = subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=100,
            check=False,
            env={**environment, **changes},
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


def positions(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [one["position"] for one in ran.document["dead_letters"]]


def test_s5_06_dead_letters_are_listed_shown_redriven_and_dropped(run: Run, grave: Grave) -> None:
    """S5.6: an operator finds what failed, sees why, and resubmits or closes it."""
    listed = run("list", "--json")
    assert positions(listed) == ["tasks.dlq[0]@0", "tasks.dlq[0]@1", "events.dlq[0]@0"]
    first = listed.document["dead_letters"][0]
    assert {name: first[name] for name in ("group", "type", "id", "attempts", "state")} == {
        "group": "fleet",
        "type": "agentlog.Json",
        "id": "msg-0000000000001-aaaaaaaaa",
        "attempts": 5,
        "state": "open",
    }
    table = run("list", "--error", "TimeoutError", "--limit", "1").out
    assert "tasks.dlq[0]@1" in table
    assert "tasks.dlq[0]@0" not in table

    planned = run("redrive", "--group", "fleet", "--dry-run", "--json")
    assert planned.code == 0
    assert planned.document == {
        "action": "redriven",
        "planned": 2,
        "by": [{"topic": "tasks", "group": "fleet", "error": "TimeoutError", "count": 2}],
        "already_resolved": 0,
        "more": False,
        "dry_run": True,
        "resolved": 0,
        "meanwhile": 0,
        "refused": [],
    }
    assert grave.count(TASKS) == 0

    done = run("redrive", "tasks.dlq[0]@1", "--yes", "--note", "the model is back")
    assert (done.code, done.out) == (0, "")
    assert "to be redriven: 1" in done.err
    assert "1 redriven" in done.err
    assert grave.count(TASKS) == 1
    again = run("redrive", "tasks.dlq[0]@1", "--yes", "--json")
    assert (again.code, again.document["planned"], again.document["already_resolved"]) == (0, 0, 1)
    assert "--again redrives them once more" in again.err
    assert grave.count(TASKS) == 1

    dropped = run("drop", "--topic", "events", "--yes", "--note", "noise", "--json")
    assert (dropped.code, dropped.document["resolved"]) == (0, 1)
    assert positions(run("list", "--json")) == ["tasks.dlq[0]@0"]
    states = {
        one["position"]: (one["state"], one["note"])
        for one in run("list", "--all", "--json").document["dead_letters"]
    }
    assert states == {
        "tasks.dlq[0]@0": ("open", ""),
        "tasks.dlq[0]@1": ("redriven", "the model is back"),
        "events.dlq[0]@0": ("dropped", "noise"),
    }


def test_s3_11_show_tells_everything_about_one(run: Run, grave: Grave) -> None:
    """S3.11's record, the headers, the bytes of what cannot be decoded, what was decided."""
    shown = run("show", "tasks.dlq[0]@0", "--json").document
    letter = shown["dead_letter"]
    assert letter["message"]["payload"] == {"n": 1}
    assert letter["error"]["stack"] == "Traceback\n  in on_task"
    assert (letter["retry_count"], letter["failed_at"]) == (0, "2023-11-14T22:13:21.000000Z")
    assert letter["context"] == {"app": "fleet", "agent": "agent-7"}
    assert ["kind", "task_assignment"] in shown["headers"]
    assert (shown["key"], shown["history"]) == ("corr-1", [])

    run("drop", "events.dlq[0]@0", "--yes", "--note", "noise")
    junk = run("show", f"{grave.namespace.name}.events.dlq[0]@0", "--json").document
    assert junk["dead_letter"]["message"] == {"hex": b"\x00\x01junk\xff".hex()}
    assert junk["problem"]
    assert [(one["action"], one["note"]) for one in junk["history"]] == [("dropped", "noise")]
    pretty = run("show", "events.dlq[0]@0").out
    assert "DecodeError: no [bold]answer[/bold]" in pretty
    assert "00016a756e6bff" in pretty
    assert "noise" in pretty


def test_what_was_for_nobody_came_from_nowhere(run: Run, grave: Grave) -> None:
    """It has no position on its topic, and none is made up; it goes back there all the same."""
    record = grave.task(3)
    headers = unroutable_headers(
        record.headers,
        topic=grave.namespace.topic(INBOX),
        recipient="ghost",
        sender="boss",
        failed_at_ms=1_700_000_001_000,
    )
    grave.put(dlq(grave.namespace.topic(INBOX)), record, headers)
    (place,) = positions(run("list", "--topic", "inbox", "--json"))
    assert run("show", place, "--json").document["source"] is None
    pretty = run("show", place).out
    assert "nowhere: it was never on its topic" in pretty
    assert "[-1]" not in pretty
    ran = run("redrive", place, "--yes")
    assert (ran.code, grave.count(INBOX)) == (0, 1), ran.err


def test_the_plan_is_shown_and_asked_about(grave: Grave, environment: dict[str, str]) -> None:
    """On a terminal: no is no, yes is yes."""
    for answer, code, redriven in (("n\n", 1, 0), ("y\n", 0, 2)):
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [*COMMAND, "redrive", "--group", "fleet"],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        os.write(ours, answer.encode())
        out, err = process.communicate(timeout=100)
        os.close(ours)
        os.close(theirs)
        assert (process.returncode, out) == (code, "")
        assert "to be redriven: 2" in err
        assert "Carry this out?" in err
        assert grave.count(TASKS) == redriven


def test_a_moment_bounds_what_is_found(run: Run, grave: Grave) -> None:
    assert positions(run("list", "--since", "-1h", "--json"))
    nothing = run("list", "--until", "-1h")
    assert (nothing.code, nothing.out) == (0, "")
    assert "there are no dead letters there" in nothing.err


def test_nothing_that_fits_is_no_error(run: Run, grave: Grave) -> None:
    for command in (("list",), ("redrive", "--yes"), ("drop", "--yes", "--note", "n")):
        done = run(*command, "--error", "Nobody")
        assert (done.code, done.out) == (0, "")
        assert "none of 3 dead letters fits and is open" in done.err


WRONG: Final = (
    (("redrive", "--yes"), "name positions, give filters, or say --all-open"),
    (("redrive", "tasks.dlq[0]@0", "--group", "g", "--yes"), "not both"),
    (("redrive", "--all-open"), "stdin is no terminal: --yes carries it out"),
    (("drop", "--all-open", "--yes"), "--note"),
    (("drop", "--all-open", "--yes", "--note", " "), "--note is empty"),
    (("list", "--topic", "gossip"), "no topic 'gossip' has dead letters; there are tasks.dlq"),
    (("list", "--since", "yesterday"), "not a moment: 'yesterday'"),
    (("show", "tasks"), "not a position: 'tasks'; write it as in tasks.dlq[0]@12"),
    (("show", "tasks[0]@1"), "tasks holds no dead letters; its own are on tasks.dlq"),
)


@pytest.mark.parametrize(("arguments", "text"), WRONG)
def test_wrong_arguments_end_with_2_and_one_sentence_and_no_broker(
    environment: dict[str, str], run: Run, arguments: tuple[str, ...], text: str
) -> None:
    done = run(*arguments, AGENTLOG_BOOTSTRAP_SERVERS="127.0.0.1:1")
    assert (done.code, done.out) == (2, "")
    assert text in done.err
    assert "Traceback" not in done.err


def test_what_is_not_on_the_log_is_named(run: Run, grave: Grave) -> None:
    stranger = Producer({"bootstrap.servers": grave.servers})
    stranger.produce(grave.namespace.topic(dlq(TASKS)), b"junk")
    assert stranger.flush(30) == 0
    for arguments, code, text in (
        (("show", "tasks.dlq[0]@9"), 1, "tasks.dlq[0]@9: there is no such position"),
        (("show", "tasks.dlq[0]@2"), 1, "is no dead letter: it has no header 'dlq_topic'"),
        (("redrive", "tasks.dlq[7]@0", "--yes"), 1, "has only partitions 0 to 0"),
        (("redrive", "--group", "nobody", "--yes"), 2, "no group 'nobody' in namespace"),
        (("list", "--group", "nobody"), 2, "no group 'nobody' in namespace"),
    ):
        done = run(*arguments)
        assert (done.code, done.out) == (code, ""), arguments
        assert text in " ".join(done.err.split()), arguments
        assert "Traceback" not in done.err
    assert "1 records on these topics are no dead letters" in run("list").err


def test_no_broker_ends_with_3_and_no_topics_with_a_hint(run: Run) -> None:
    assert run("list", AGENTLOG_BOOTSTRAP_SERVERS="127.0.0.1:1").code == 3
    bare = run("list")
    assert bare.code == 1
    assert "`agentlog topics apply` creates the topics" in bare.err
