"""Read models kept by a group on real Kafka: killed, shared, rebuilt meanwhile."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from consumers.databases import Database
from consumers.read_models import (
    Generations,
    ReadModelRunner,
    read_live,
    rebuild,
    wait_for_position,
)
from streams.kafka.admin import TopicAdmin
from streams.kafka.reader import KafkaLogReader
from streams.topics import Namespace
from tests.consumers.read_models.models import CODEC, Senders, count
from tests.consumers.test_live import DEADLINE_S, publish, until

RUN = """
import sys, threading
from consumers.databases import Database
from consumers.read_models import Generations, ReadModelRunner
from streams.topics import Namespace
from tests.consumers.read_models.models import CODEC, Senders
servers, namespace, url = sys.argv[1:]
ReadModelRunner(
    Generations(Database(url), Senders(), namespace),
    bootstrap_servers=servers, namespace=Namespace(namespace), codec=CODEC,
).run(threading.Event())
"""


@pytest.fixture
def log(kafka: str) -> Namespace:
    """A provisioned namespace."""
    found = Namespace(f"test-{secrets.token_hex(6)}")
    TopicAdmin(kafka).provision(found)
    return found


@contextmanager
def running(kafka: str, log: Namespace, generations: Generations) -> Iterator[ReadModelRunner]:
    stop, errors = threading.Event(), []
    runner = ReadModelRunner(generations, bootstrap_servers=kafka, namespace=log, codec=CODEC)

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


def caught_up(kafka: str, log: Namespace, generations: Generations) -> bool:
    with KafkaLogReader(kafka) as reader:
        end = reader.ends(log.topics(generations.model.topics))
    cut = read_live(generations, lambda view: view.cut)
    return cut is not None and all(cut.ends.get(source, 0) >= at for source, at in end)


def test_a_killed_member_is_resumed_and_every_row_is_there_once(
    kafka: str, log: Namespace, url: str, database: Database
) -> None:
    """The next one goes on from the stored positions, behind markers and aborted tails."""
    generations = Generations(database, Senders(), log.name)
    generations.ensure_live()
    publish(kafka, log, range(80))
    process = subprocess.Popen([sys.executable, "-c", RUN, kafka, log.name, url])
    try:
        until(lambda: count(generations) > 0, "the first member stored something")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    publish(kafka, log, range(80, 120))
    with running(kafka, log, generations), KafkaLogReader(kafka) as reader:
        for source, end in reader.ends(log.topics(Senders.topics)):
            if end:
                wait_for_position(generations, source, end - 1, DEADLINE_S)
    assert count(generations) == 60  # every other message is a task


def test_a_rebuild_beside_a_running_member_loses_nothing(
    kafka: str, log: Namespace, database: Database
) -> None:
    """The member goes on in the new generation."""
    generations = Generations(database, Senders(), log.name)
    publish(kafka, log, range(40))
    with running(kafka, log, generations) as runner, KafkaLogReader(kafka) as reader:
        until(lambda: caught_up(kafka, log, generations), "the member caught up")
        rebuilt = rebuild(generations, reader=reader, namespace=log, codec=CODEC)
        assert count(generations) == 20
        publish(kafka, log, range(40, 80))
        until(lambda: caught_up(kafka, log, generations), "the member went on")
        assert count(generations) == 40
        assert runner.keeper.generation.number == rebuilt.generation
