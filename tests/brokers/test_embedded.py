"""The embedded Kafka, for real: it starts, is found, survives SIGKILL, and ends with its owner."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from streams.brokers import EmbeddedKafka, tool_command
from streams.brokers.embedded import Instance, Stopped, launch, ports, process
from streams.brokers.embedded.instance import START_ATTEMPTS_MAX
from streams.brokers.embedded.last_words import PortTaken
from streams.brokers.embedded.node import ClusterLayout, Node
from streams.brokers.embedded.state import BrokerState, ProcessId, render_state
from streams.brokers.probe import describe_cluster
from streams.errors import BrokerError, ConfigurationError

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    """A broker's folder of its own; whatever runs there at the end is stopped."""
    one = Instance(tmp_path / "one")
    yield one
    one.stop()


def _write(servers: str, count: int) -> None:
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    admin.create_topics([NewTopic("facts", 1, 1)])["facts"].result(30)
    producer = Producer({"bootstrap.servers": servers, "acks": "all", "log_level": 0})
    for n in range(count):
        producer.produce("facts", f"{n}".encode())
    assert producer.flush(30) == 0


def _end_of_facts(servers: str) -> int:
    reader = Consumer({"bootstrap.servers": servers, "group.id": "reader", "log_level": 0})
    try:
        _, end = reader.get_watermark_offsets(TopicPartition("facts", 0), timeout=30)
        return int(end)
    finally:
        reader.close()


def _wait(condition: Callable[[], bool], *, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def test_a_broker_is_found_survives_sigkill_and_stops_clean(instance: Instance) -> None:
    """One life: started, found by a second start, killed, back with its data, stopped."""
    first = instance.start()
    servers = first.state.bootstrap_servers
    _write(servers, 1000)

    second = instance.start()
    assert second.found
    assert second.state == first.state
    with pytest.raises(BrokerError, match=f"already runs on port {first.state.nodes[0].port}"):
        instance.start(port=1024)

    os.kill(first.state.processes[0].pid, signal.SIGKILL)
    back = instance.start()
    assert not back.found
    assert back.state.processes != first.state.processes
    assert back.state.bootstrap_servers == servers, "clients keep their configuration"
    assert _end_of_facts(servers) == 1000

    assert instance.stop() is Stopped.CLEAN
    assert not process.is_alive(back.state.processes[0])
    assert (instance.folder / "node-1" / "data" / ".kafka_cleanshutdown").exists()
    assert instance.find() is None
    assert instance.stop() is Stopped.NOT_RUNNING


def test_a_state_whose_pid_belongs_to_somebody_else_is_stale(instance: Instance) -> None:
    """After a reboot our pid may be anybody's: it is not running, and nothing is killed."""
    stranger = ProcessId(os.getpid(), "born before")
    instance.folder.mkdir()
    state = BrokerState("4.3.1", (Node(1, 1, 2),), (stranger,), datetime.now(UTC), keep=True)
    (instance.folder / "last-run.json").write_text(render_state(state))
    assert instance.last_run() == state
    assert instance.find() is None
    assert instance.stop() is Stopped.NOT_RUNNING


def test_a_port_in_use_is_named(instance: Instance) -> None:
    """The port that was asked for is taken: which one, and what to do; nothing is started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BrokerError, match=rf"port {port} .*in use.*--port"):
            instance.start(port=port)
    assert instance.find() is None


def test_a_port_taken_before_kafka_binds_it_is_named_too(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our own check came too early: Kafka's last words are understood."""
    free = ports.assign_ports(1, first_port=None, last_run=())[0].controller_port
    with socket.create_server(("127.0.0.1", 0)) as taken:
        lost = Node(1, taken.getsockname()[1], free)
        monkeypatch.setattr(ports, "assign_ports", lambda *_, **__: [lost])
        with pytest.raises(PortTaken, match=rf"port {lost.port} or .*in use"):
            instance.start(port=lost.port)
    assert instance.find() is None


def test_a_chosen_port_that_was_lost_costs_another_try(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody asked for that port: the next try takes other ones, and forgets the last run's."""
    tried: list[Node] = []

    def lose(layout: ClusterLayout, *args: object) -> launch.Running:
        tried.append(layout.nodes[0])
        raise PortTaken("taken")

    monkeypatch.setattr(launch, "launch", lose)
    monkeypatch.setattr("streams.brokers.embedded.java.kafka_jars", lambda **_: Path())
    with pytest.raises(BrokerError, match="taken"):
        instance.start()
    assert len(tried) == START_ATTEMPTS_MAX


def test_positions_of_a_transaction_that_was_prepared_at_sigkill_are_read_again() -> None:
    """Not with Kafka alone: with one broker it would call the transaction complete without its
    markers, and the group's positions would be unsettled for good (`embedded/fencing.py`).
    """
    with EmbeddedKafka() as kafka:
        servers, (node,) = kafka.bootstrap_servers, kafka.nodes
        _write(servers, 1)
        groups = [f"group-{n}" for n in range(4)]
        begun, enough = threading.Semaphore(0), threading.Event()
        committing = [
            threading.Thread(
                target=_commit_positions, args=(servers, group, begun, enough), daemon=True
            )
            for group in groups
        ]
        for thread in committing:
            thread.start()
        for _ in groups:
            assert begun.acquire(timeout=30)
        os.kill(node.pid, signal.SIGKILL)
        enough.set()
        assert _wait(lambda: not node.is_alive, timeout_s=10)
        node.start()
        for group in groups:
            assert _wait(partial(_has_position, servers, group), timeout_s=30), group
        for thread in committing:
            thread.join(30)


def _has_position(servers: str, group: str) -> bool:
    reader = Consumer({"bootstrap.servers": servers, "group.id": group, "log_level": 0})
    try:
        (found,) = reader.committed([TopicPartition("facts", 0)], timeout=5)
    except KafkaException:
        return False
    finally:
        reader.close()
    return found.error is None and found.offset >= 0


def _commit_positions(
    servers: str, group: str, begun: threading.Semaphore, enough: threading.Event
) -> None:
    """Commit one position after another, each in a transaction, until it is enough."""
    reader = Consumer({"bootstrap.servers": servers, "group.id": group, "log_level": 0})
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "transactional.id": group,
            "log_level": 0,
            "transaction.timeout.ms": 3_000,  # one that was open, not prepared, ends by itself
        }
    )
    producer.init_transactions(30)
    with suppress(KafkaException):
        for n in count():
            if enough.is_set():
                break
            producer.begin_transaction()
            at = [TopicPartition("facts", 0, n)]
            producer.send_offsets_to_transaction(at, reader.consumer_group_metadata(), 2)
            producer.commit_transaction(2)
            if n == 20:
                begun.release()
    reader.close()


def test_a_broker_whose_starter_was_killed_is_found_and_stopped(instance: Instance) -> None:
    """Between the start of its process and its first answer, as a CI's time limit would."""
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(instance.folder)])
    try:
        assert _wait(lambda: instance.find() is not None, timeout_s=60)
    finally:
        starter.kill()
        starter.wait()
    orphan = instance.find()
    assert orphan is not None
    assert _wait(
        lambda: describe_cluster(orphan.bootstrap_servers, timeout_s=1) is not None, timeout_s=90
    )
    started = instance.start()
    assert started.found
    assert started.state.processes == orphan.processes
    assert instance.stop() is Stopped.CLEAN


STARTER = """
import sys
import threading
import time
from pathlib import Path
from streams.brokers.embedded import Instance, launch
launch._wait_ready = lambda *_: time.sleep(120)
Instance(Path(sys.argv[1])).start()
"""


def test_a_broker_that_dies_at_start_says_why_and_leaves_nothing(instance: Instance) -> None:
    """Broken data: its last words and where its log is; no process and no running state stay."""
    data = instance.folder / "node-1" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=none\n")
    with pytest.raises(BrokerError, match=r"could not start.*server\.log|could not start.*console"):
        instance.start()
    assert instance.find() is None


def test_a_full_disk_is_one_sentence(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> None:
    """ENOSPC while the node's files are written."""

    def full(*args: object) -> launch.Running:
        raise OSError(errno.ENOSPC, "No space left on device", str(instance.folder))

    monkeypatch.setattr(launch, "launch", full)
    with pytest.raises(BrokerError, match=r"disk is full at .*make room"):
        instance.start()


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "X"])
def test_a_name_cannot_leave_the_data_folder(name: str) -> None:
    """A broker's name is one plain word."""
    with pytest.raises(ConfigurationError, match="broker name"):
        Instance.named(name)


OWNER = """
from streams.brokers import EmbeddedKafka
kafka = EmbeddedKafka().start()
one = kafka.state.processes[0]
print(one.pid, one.birth, kafka._temporary, flush=True)
input()
"""


def test_a_temporary_broker_ends_with_its_owner_even_by_sigkill() -> None:
    """Nobody is left to clean up: the broker stops by itself and its data goes."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid, birth, folder = owner.stdout.readline().split()
        broker = ProcessId(int(pid), birth)
        assert process.is_alive(broker)
        assert Path(folder).is_dir()
        owner.kill()
    assert process.wait_gone(broker, timeout_s=20)
    assert _wait(lambda: not Path(folder).exists(), timeout_s=10)


def test_a_broker_in_a_callers_folder_leaves_its_data_there(tmp_path: Path) -> None:
    """The caller's folder is the caller's; nobody else starts on it meanwhile."""
    with EmbeddedKafka(data_dir=tmp_path / "mine") as kafka:
        _write(kafka.bootstrap_servers, 10)
        with pytest.raises(BrokerError, match="another broker already runs"):
            EmbeddedKafka(data_dir=tmp_path / "mine").start()
        (segment,) = _segments(tmp_path / "mine")
    with pytest.raises(BrokerError, match="not running"):
        _ = kafka.bootstrap_servers
    assert segment.stat().st_size > 0


def _segments(folder: Path) -> list[Path]:
    return list((folder / "node-1" / "data" / "facts-0").glob("*.log"))


def test_kafkas_own_tools_run_on_the_same_jars() -> None:
    """`tool_command` is an argv: the benchmarks' baselines need nothing else."""
    for main_class, known in (
        ("org.apache.kafka.tools.ProducerPerformance", "--record-size"),
        ("org.apache.kafka.tools.ConsumerPerformance", "--bootstrap-server"),
    ):
        done = subprocess.run(
            tool_command(main_class, "--help"), capture_output=True, text=True, check=False
        )
        assert known in done.stdout + done.stderr
