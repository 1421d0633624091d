"""Live projections on real Kafka: equal to replay, resumed after a kill, fenced."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError, Message, Producer

from consumers.live import ProjectionRunner, wait_for, wait_for_position
from consumers.projections import AgentState, Metrics, Projection
from consumers.replay import replay
from consumers.state_store import Change, Row, SqlStateStore, live_snapshot
from streams.cuts import Cut
from streams.digest import digest
from streams.envelope import Envelope, Kind
from streams.errors import ConfigurationError, LogError
from streams.identity import message_id
from streams.kafka.admin import TopicAdmin
from streams.kafka.reader import KafkaLogReader
from streams.record import Partition
from streams.schemas import Catalogue, Codec
from streams.topics import Namespace
from streams.topics.routing import route

CODEC = Codec(Catalogue.load())
DEADLINE_S = 40

RUN = """
import sys, threading
from consumers.live import ProjectionRunner
from consumers.projections import AgentState
from consumers.state_store import SqlStateStore
from streams.schemas import Catalogue, Codec
from streams.topics import Namespace
servers, namespace, url = sys.argv[1:]
ProjectionRunner(
    AgentState(), bootstrap_servers=servers, namespace=Namespace(namespace),
    codec=Codec(Catalogue.load()), store=SqlStateStore(url),
).run(threading.Event())
"""


@pytest.fixture
def log(kafka: str, namespace: str) -> Namespace:
    """A provisioned namespace."""
    found = Namespace(namespace)
    TopicAdmin(kafka).provision(found)
    return found


@pytest.fixture
def store_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'states.sqlite'}"


def message(n: int) -> Envelope:
    kind = (Kind.TASK_ASSIGNMENT, Kind.REQUEST)[n % 2]
    payload: dict[str, Any] = {"task": {"id": f"task-{n}", "type": "t"}}
    if kind is Kind.REQUEST:
        payload = {"json": "{}"}
    return Envelope(
        type="agentlog.Json" if kind is Kind.REQUEST else "agentlog.task.AssignTask",
        kind=kind,
        payload=payload,
        id=message_id(n + 1, "abcdefghi"),
        sender=f"agent-{n % 7}",
        recipients=tuple(f"agent-{m % 7}" for m in range(n, n + 1 + n % 3)),
        created_at=1_000_000 + n // 4,
        channel_id=f"channel-{n % 3}",
    )


def publish(kafka: str, log: Namespace, numbers: range) -> None:
    """In one transaction, so that every partition ends in a marker; then an aborted one."""
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "partitioner": "murmur2_random",
            "transactional.id": f"{log.name}-{numbers.start}",
        }
    )
    producer.init_transactions(30)
    for commit in (True, False):
        producer.begin_transaction()
        for n in numbers:
            envelope = message(n)
            for place in route(envelope):
                producer.produce(log.topic(place.topic), CODEC.encode(envelope), place.key)
        producer.flush()
        (producer.commit_transaction if commit else producer.abort_transaction)(30)


@contextmanager
def running(
    kafka: str, log: Namespace, projection: Projection[Any], store: SqlStateStore
) -> Iterator[ProjectionRunner[Any]]:
    stop, errors = threading.Event(), []
    runner = ProjectionRunner(
        projection, bootstrap_servers=kafka, namespace=log, codec=CODEC, store=store
    )

    def run() -> None:
        try:
            runner.run(stop)
        except Exception as error:  # noqa: BLE001  # raised below, in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield runner
    finally:
        stop.set()
        thread.join(DEADLINE_S)
    assert not errors
    assert not thread.is_alive()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def end_of(kafka: str, log: Namespace, projection: Projection[Any]) -> Cut:
    with KafkaLogReader(kafka) as reader:
        return reader.ends(log.topics(projection.topics))


def assert_equal_to_replay(
    kafka: str, log: Namespace, projection: Projection[Any], store: SqlStateStore
) -> None:
    live = live_snapshot(store, projection, log.topics(projection.topics))
    with KafkaLogReader(kafka) as reader:
        rebuilt = replay(projection, reader=reader, namespace=log, codec=CODEC, cut=live.cut)
    assert rebuilt.digest == digest(live.state)
    assert rebuilt.records > 0


@pytest.mark.parametrize("projection", [AgentState(), Metrics()], ids=["state", "metrics"])
def test_s3_18_live_equals_replay_at_the_same_cut(
    kafka: str, log: Namespace, store_url: str, projection: Projection[Any]
) -> None:
    """Behind markers and aborted tails, and again after more was written."""
    store = SqlStateStore(store_url)
    publish(kafka, log, range(60))
    with running(kafka, log, projection, store):
        wait_for(store, projection, end_of(kafka, log, projection), DEADLINE_S)
        assert_equal_to_replay(kafka, log, projection, store)
        publish(kafka, log, range(60, 90))
        wait_for(store, projection, end_of(kafka, log, projection), DEADLINE_S)
    assert_equal_to_replay(kafka, log, projection, store)
    view = projection.view(live_snapshot(store, projection, log.topics(projection.topics)).state)
    if "messages_sent" in view:  # a message to several inboxes is one message
        assert view["messages_sent"] == 90
    store.close()


def test_whoever_knows_a_position_reads_what_is_there(
    kafka: str, log: Namespace, store_url: str
) -> None:
    """Not before the stored state has it; a projection that nobody runs is named."""
    store, projection = SqlStateStore(store_url), AgentState()
    publish(kafka, log, range(20))
    source, end = max(end_of(kafka, log, projection), key=lambda one: one[1])
    with pytest.raises(LogError, match=r"state is at 0 on .*is `agentlog projections run` running"):
        wait_for_position(store, projection, source, 0, 0.1)
    with pytest.raises(ConfigurationError, match="does not read"):
        wait_for_position(store, projection, Partition(log.topic("journal"), 0), 0, 0.1)
    with running(kafka, log, projection, store):
        wait_for_position(store, projection, source, end - 1, DEADLINE_S)
    row = store.load(projection, source)
    assert row is not None
    assert row.position >= end
    store.close()


def test_a_killed_projector_is_resumed(kafka: str, log: Namespace, store_url: str) -> None:
    """After SIGKILL the next member goes on from the stored positions; nothing counts twice."""
    store, projection = SqlStateStore(store_url), AgentState()
    publish(kafka, log, range(40))
    process = subprocess.Popen([sys.executable, "-c", RUN, kafka, log.name, store_url])
    try:
        until(lambda: bool(store.rows(projection, log.name)), "the first member stored something")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    publish(kafka, log, range(40, 80))
    with running(kafka, log, projection, store):
        wait_for(store, projection, end_of(kafka, log, projection), DEADLINE_S)
    assert_equal_to_replay(kafka, log, projection, store)
    store.close()


def test_a_zombie_is_fenced_and_reloads(kafka: str, log: Namespace, store_url: str) -> None:
    """A member whose row was moved on by another stores nothing stale, and goes on from there."""
    store, projection = SqlStateStore(store_url), AgentState()
    with running(kafka, log, projection, store) as zombie:
        publish(kafka, log, range(20))
        wait_for(store, projection, end_of(kafka, log, projection), DEADLINE_S)
        stored = store.rows(projection, log.name)
        # Another member takes the rows back to their beginning: the zombie's next flush loses.
        initial = [row._replace(position=0, state=b"\xa0") for row in stored]
        assert store.save(
            projection,
            [Change(was.position, row) for was, row in zip(stored, initial, strict=True)],
        )
        publish(kafka, log, range(20))  # the same keys: every partition moves
        wait_for(store, projection, end_of(kafka, log, projection), DEADLINE_S)
    assert zombie.fenced > 0
    assert_equal_to_replay(kafka, log, projection, store)
    store.close()


def test_a_lost_race_changes_no_row(store_url: str) -> None:
    """Compare-and-set is all or nothing over the rows of one flush."""
    store, projection = SqlStateStore(store_url), AgentState()
    first, second = (Row(Partition("ns.tasks", n), "t", "c", 5, b"\xa0") for n in (0, 1))
    assert store.save(projection, [Change(None, first)])
    assert not store.save(projection, [Change(None, second), Change(None, first)])
    assert not store.save(projection, [Change(None, second), Change(4, first)])
    assert store.rows(projection, "ns.") == [first]
    assert store.save(projection, [Change(None, second), Change(5, first._replace(position=9))])
    assert {row.position for row in store.rows(projection, "ns.")} == {5, 9}
    store.close()


def test_an_end_that_comes_with_its_records_skips_none_of_them(tmp_path: Path) -> None:
    """The client may return records and the end-of-partition notice behind them at once."""
    namespace = Namespace("local")
    source = Partition(namespace.topic("tasks"), 0)
    store = SqlStateStore(f"sqlite:///{tmp_path / 'store.sqlite'}")
    runner = ProjectionRunner(
        AgentState(), bootstrap_servers="", namespace=namespace, codec=CODEC, store=store
    )
    follower = runner.follower
    follower._log = Cut(cluster_id="c", topic_ids={source.topic: "t"}, ends={source: 3})
    values = [
        CODEC.encode(
            Envelope(
                type="agentlog.Json",
                payload={"json": "{}"},
                sender="a",
                kind=Kind.EVENT,
                id=message_id(n, "0" * 9),
                created_at=n + 1,
            )
        )
        for n in range(3)
    ]
    records = [
        Message(
            topic=source.topic,
            partition=0,
            offset=n,
            key=b"k",
            value=value,
            headers=[],
            timestamp=(2, n),
        )
        for n, value in enumerate(values)
    ]
    end = KafkaError(KafkaError._PARTITION_EOF)
    notice = Message(topic=source.topic, partition=0, offset=3, error=end)
    follower._places[source] = follower._load(source)
    follower._take_in([*records, notice])
    follower._flush()
    state = live_snapshot(store, AgentState(), [source.topic])
    assert state.state["a"]["sent"] == {"event": 3}
    assert state.cut.ends == {source: 3}
    store.close()


@pytest.mark.parametrize(
    ("flush_s", "flushes"), [(0.001, range(110, 201)), (1.0, range(9, 12)), (20.0, range(2, 3))]
)
def test_flushing_takes_a_bounded_share_of_the_time(
    flush_s: float, flushes: range, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large states are stored less often, but never left for long."""
    now_s = 0.0
    source = Partition("local.tasks", 0)

    class Store:
        """Takes its time."""

        saves = 0

        def load(self, *_: object) -> None:
            return None

        def save(self, *_: object) -> bool:
            nonlocal now_s
            now_s += flush_s
            self.saves += 1
            return True

    monkeypatch.setattr("consumers.following.time.monotonic", lambda: now_s)
    store = Store()
    runner = ProjectionRunner(
        AgentState(),
        bootstrap_servers="",
        namespace=Namespace("local"),
        codec=CODEC,
        store=store,  # type: ignore[arg-type]
    )
    follower = runner.follower
    follower._log = Cut(cluster_id="c", topic_ids={source.topic: "t"}, ends={source: 0})
    follower._places[source] = follower._load(source)
    end = KafkaError(KafkaError._PARTITION_EOF)
    for position in range(1, 501):
        if now_s >= 50:
            break
        now_s += 0.1  # every tenth of a second the end of the partition has moved on by one
        follower._take_in([Message(topic=source.topic, partition=0, offset=position, error=end)])
    assert store.saves in flushes
