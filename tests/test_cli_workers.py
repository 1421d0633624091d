"""`agentlog workers` and `agentlog cancel`: who answers, who does not, and what was sent."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
from confluent_kafka import Consumer
from hypothesis import given
from hypothesis import strategies as st

from consumers.worker.control import ControlListener
from consumers.worker.status import (
    WORKER_REPORTED,
    PartitionStatus,
    WorkerStatus,
    client_id,
    read_status,
    run_id_of,
    status_answer,
)
from streams.control import report_status
from streams.envelope import Envelope, Kind
from streams.errors import DecodeError
from streams.kafka.admin import TopicAdmin
from streams.kafka.groups import GroupAdmin
from streams.kafka.publisher import Publisher
from streams.schemas import Catalogue, Codec
from streams.topics import TOPICS, Namespace
from streams.topics.routing import Route, route
from tests.consumers.worker.harness import until

CODEC = Codec(Catalogue.load())
USED = {name: TOPICS[name] for name in ("control", "replies", "schemas", "tasks")}
DEADLINE_S = 60.0


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        return json.loads(self.out)


async def agentlog(kafka: str, namespace: str, *arguments: str) -> Ran:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from consumers.cli import main; main()", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={
            **os.environ,
            "AGENTLOG_BOOTSTRAP_SERVERS": kafka,
            "AGENTLOG_NAMESPACE": namespace,
            "COLUMNS": "200",
        },
    )
    async with asyncio.timeout(100):
        out, err = await process.communicate()
    return Ran(process.returncode or 0, out.decode(), err.decode())


class AtWork:
    """A member of a group that answers as a worker does, and does no work."""

    def __init__(self, kafka: str, namespace: Namespace, app: str, run_id: str) -> None:
        self.group = namespace.group(app)
        self.run_id = run_id
        self.answers = True
        self.heard: list[tuple[str, str]] = []
        self._publisher = Publisher(kafka, namespace, CODEC, sender=app)
        self._listener = ControlListener(
            kafka, namespace, CODEC, self, group=self.group, run_id=run_id
        )
        self._consumer = Consumer(
            {
                "bootstrap.servers": kafka,
                "group.id": self.group,
                "group.protocol": "consumer",
                "client.id": client_id(run_id),
            }
        )
        self._topic = namespace.topic("tasks")
        self._answering: set[asyncio.Task[Any]] = set()

    async def start(self) -> None:
        await self._publisher.start()
        await self._listener.start()
        self._consumer.subscribe([self._topic])

    def is_member(self) -> bool:
        self._consumer.poll(0)
        return bool(self._consumer.assignment())

    async def stop(self) -> None:
        await self._listener.stop()
        await self._publisher.close()
        await asyncio.to_thread(self._consumer.close)

    def on_cancel(self, message_id: str, reason: str) -> None:
        self.heard.append((message_id, reason))

    def on_drain(self, target: str, reason: str) -> None: ...

    def on_report(self, request: Envelope) -> None:
        if self.answers:
            answer = self._publisher.publish(status_answer(request, self.status()))
            task = asyncio.create_task(answer)
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)

    def status(self) -> WorkerStatus:
        now_us = time.time_ns() // 1000
        return WorkerStatus(
            group=self.group,
            run_id=self.run_id,
            host="pod-7",
            pid=4711,
            started_at=now_us - 3_600_000_000,
            reported_at=now_us,
            in_flight=1_234,
            in_flight_bytes=5_000_000,
            waiting=1_200,
            running=30,
            retrying=4,
            oldest_key="[red]chat-42",
            oldest_ms=7_500,
            partitions=(
                PartitionStatus(
                    topic=self._topic,
                    partition=0,
                    committed=10,
                    read_to=110,
                    in_flight=70,
                    beyond=30,
                ),
                PartitionStatus(
                    topic=self._topic, partition=1, committed=5, read_to=5, in_flight=0, beyond=0
                ),
            ),
        )


@pytest.fixture
def topics(kafka: str, namespace: str) -> Namespace:
    mine = Namespace(namespace)
    TopicAdmin(kafka).provision(mine, USED)
    return mine


@asynccontextmanager
async def at_work(kafka: str, topics: Namespace, *names: str) -> AsyncIterator[list[AtWork]]:
    """Workers, one per `app/run id`, each with a share of its group's partitions."""
    workers = [AtWork(kafka, topics, *name.split("/")) for name in names]
    try:
        for worker in workers:
            await worker.start()
        # All are polled each time: one that is not gives up nothing of what the others wait for.
        await until(lambda: sum(one.is_member() for one in workers) == len(workers), "all join")
        yield workers
    finally:
        for worker in workers:
            await worker.stop()


async def test_every_worker_answers_and_the_command_ends_with_0(
    kafka: str, topics: Namespace
) -> None:
    async with at_work(kafka, topics, "fleet/run-a", "fleet/run-b", "pool/run-c") as workers:
        done = await agentlog(kafka, topics.name, "workers", "--json", "--wait", "60")
        assert (done.code, done.document["silent"]) == (0, []), done.err
        found = done.document["workers"]
        assert [(one["group"], one["run_id"]) for one in found] == [
            (topics.group("fleet"), "run-a"),
            (topics.group("fleet"), "run-b"),
            (topics.group("pool"), "run-c"),
        ]
        assert found[0]["partitions"][0] == {
            "topic": topics.topic("tasks"),
            "partition": 0,
            "committed": 10,
            "read_to": 110,
            "in_flight": 70,
            "beyond": 30,
        }
        assert (found[0]["commit_gap"], found[0]["beyond"]) == (100, 30)
        assert found[0]["started_at"] < found[0]["reported_at"]
        one_group = await agentlog(
            kafka, topics.name, "workers", "--group", "pool", "--wait", "60", "--json"
        )
        assert [one["run_id"] for one in one_group.document["workers"]] == ["run-c"]
        shown = await agentlog(kafka, topics.name, "workers", "--group", workers[0].group)
        assert shown.code == 0
        for text in (
            *("fleet", "pod-7 pid 4711 run-a", "1,234 (4.8 MiB)", "30", "1,200"),
            *("[red]chat-42, 7.5 s", "100 (30 beyond)"),
        ):
            assert text in shown.out
        assert "pool" not in shown.out


async def test_who_does_not_answer_is_named_and_the_exit_code_says_1(
    kafka: str, topics: Namespace
) -> None:
    async with at_work(kafka, topics, "fleet/run-a", "fleet/run-b") as workers:
        workers[1].answers = False
        done = await agentlog(kafka, topics.name, "workers", "--json", "--wait", "3")
        assert done.code == 1
        assert [one["run_id"] for one in done.document["workers"]] == ["run-a"]
        (silent,) = done.document["silent"]
        assert (silent["group"], silent["run_id"]) == (topics.group("fleet"), "run-b")
        assert silent["partitions"]
        assert all(name.startswith(topics.topic("tasks")) for name in silent["partitions"])
        assert "1 of 2 workers did not answer within 3 s" in done.err
        shown = await agentlog(kafka, topics.name, "workers", "--wait", "1")
        assert shown.code == 1
        assert "did not answer" in shown.out


async def test_other_members_of_a_namespace_are_no_workers(kafka: str, topics: Namespace) -> None:
    """A live projection is a group, too; nobody waits for its answer."""
    projection = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": topics.group("projection-x-1"),
            "group.protocol": "consumer",
        }
    )
    projection.subscribe([topics.topic("tasks")])

    def is_member() -> bool:
        projection.poll(0)
        return bool(projection.assignment())

    await until(is_member, "the projection is a member")
    (member,) = await asyncio.to_thread(GroupAdmin(kafka, topics).members)
    assert (member.group, len(member.partitions)) == (topics.group("projection-x-1"), 8)
    assert run_id_of(member.client_id) is None
    done = await agentlog(kafka, topics.name, "workers", "--json")
    assert (done.code, done.document) == (0, {"workers": [], "silent": []})
    await asyncio.to_thread(projection.close)


async def test_a_namespace_without_workers_is_one_sentence(kafka: str, namespace: str) -> None:
    done = await agentlog(kafka, namespace, "workers")
    assert (done.code, done.out) == (0, "")
    assert f"no workers in namespace {namespace}" in done.err
    done = await agentlog(kafka, namespace, "workers", "--group", "nobody")
    assert (done.code, done.out) == (0, "")
    assert f"no workers in {namespace}.nobody" in done.err


async def test_a_cancel_reaches_every_worker(kafka: str, topics: Namespace) -> None:
    ids = [f"msg-{n:013d}-aaaaaaaaa" for n in range(3)]
    async with at_work(kafka, topics, "fleet/run-a", "pool/run-b") as workers:
        done = await agentlog(
            kafka, topics.name, "cancel", *ids[:2], ids[0], "--reason", "wrong city"
        )
        assert (done.code, done.out) == (0, "")
        assert f"sent: cancel {ids[0]} ({topics.topic('control')}[0]@0)" in done.err
        assert "any other will skip it" in done.err
        as_json = await agentlog(kafka, topics.name, "cancel", ids[2], "--json")
        assert as_json.document == {
            "cancelled": [
                {"id": ids[2], "topic": topics.topic("control"), "partition": 0, "position": 2}
            ]
        }
        expected = [(ids[0], "wrong city"), (ids[1], "wrong city"), (ids[2], "")]
        for worker in workers:
            await until(lambda worker=worker: len(worker.heard) == 3, "it hears all")  # type: ignore[misc]
            assert worker.heard == expected


async def test_what_is_no_id_cannot_be_cancelled(kafka: str, namespace: str) -> None:
    done = await agentlog(kafka, namespace, "cancel", "msg-1")
    assert (done.code, done.out) == (2, "")
    assert "'msg-1' is no envelope's id" in done.err


@pytest.mark.parametrize("command", [("workers",), ("cancel", "msg-0000000000000-aaaaaaaaa")])
async def test_no_broker_ends_with_3(command: tuple[str, ...]) -> None:
    done = await agentlog("127.0.0.1:1", "nowhere", *command)
    assert (done.code, done.out) == (3, "")


COUNTS = st.integers(0, 2**62)
STATUSES = st.builds(
    WorkerStatus,
    group=st.text(max_size=5),
    run_id=st.text(max_size=5),
    host=st.text(max_size=5),
    pid=st.integers(0, 2**31 - 1),
    started_at=st.integers(0, 4_000_000_000_000_000),
    reported_at=st.integers(0, 4_000_000_000_000_000),
    in_flight=COUNTS,
    in_flight_bytes=COUNTS,
    waiting=COUNTS,
    running=COUNTS,
    retrying=COUNTS,
    oldest_key=st.none() | st.text(max_size=5),
    oldest_ms=COUNTS,
    partitions=st.lists(
        st.builds(
            PartitionStatus,
            topic=st.text(max_size=5),
            partition=st.integers(0, 2**31 - 1),
            committed=COUNTS,
            read_to=COUNTS,
            in_flight=COUNTS,
            beyond=COUNTS,
        ),
        max_size=3,
    ).map(tuple),
)


@given(STATUSES)
def test_a_status_survives_the_wire_and_goes_to_who_asked(status: WorkerStatus) -> None:
    """Every fact of the schema, to the microsecond, under the question's correlation."""
    request = report_status("inbox-1").with_(id="msg-0000000000001-aaaaaaaaa", sender="operator")
    answer = status_answer(request, status).with_(
        id="msg-0000000000002-aaaaaaaaa", sender="fleet", created_at=1
    )
    assert route(answer) == (Route("replies", b"inbox-1"),)
    assert (answer.kind, answer.correlation_id) == (Kind.RESPONSE, request.id)
    assert read_status(CODEC.decode(CODEC.encode(answer))) == status


def test_what_is_no_status_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"not agentlog\.worker"):
        read_status(Envelope(type="agentlog.Json", payload={"json": "{}"}))
    with pytest.raises(DecodeError, match="group"):
        read_status(Envelope(type=WORKER_REPORTED, payload={}))
    assert run_id_of(client_id("abc")) == "abc"
    assert run_id_of("rdkafka") is None
