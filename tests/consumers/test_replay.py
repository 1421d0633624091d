"""Replay on real Kafka: every way to run it gives one state; a cut is kept to."""

from __future__ import annotations

from typing import Any

import pytest

from consumers import replay as replay_module
from consumers.projections import AgentState, Filters, Metrics, Projection
from consumers.replay import replay
from examples.change_history import ChangeHistory
from examples.change_history import projection as change_history
from streams.digest import digest
from streams.envelope import Envelope
from streams.errors import AgentlogError, LogError
from streams.kafka.admin import TopicAdmin
from streams.kafka.reader import KafkaLogReader
from streams.moments import resolve_at
from streams.record import Record
from streams.schemas import Catalogue, Codec
from streams.topics import Namespace
from tests.consumers.test_live import CODEC, publish


def open_codec() -> Codec:
    """What a replaying process opens."""
    return Codec(Catalogue.load())


@pytest.fixture
def log(kafka: str, namespace: str) -> Namespace:
    """A provisioned namespace."""
    found = Namespace(namespace)
    TopicAdmin(kafka).provision(found)
    return found


@pytest.mark.parametrize(
    "projection", [AgentState(), Metrics(), change_history], ids=["state", "metrics", "own"]
)
def test_s3_18_every_way_to_replay_gives_one_state(
    kafka: str, log: Namespace, projection: Projection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows or columns; one thread, several, or processes."""
    publish(kafka, log, range(60))
    monkeypatch.setattr(replay_module, "PROCESS_RECORDS_MIN", {True: 1, False: 1})
    digests = set()
    with KafkaLogReader(kafka) as reader:
        for options in (
            {"workers": 1, "columnar": False},
            {"workers": 1},
            {"workers": 3},
            {"workers": 2, "open_codec": open_codec},
        ):
            passed: list[tuple[int, int]] = []
            done = replay(
                projection,
                reader=reader,
                namespace=log,
                codec=CODEC,
                on_progress=lambda *progress, passed=passed: passed.append(progress),
                **options,
            )
            digests.add((done.digest, done.records, done.tally.undecodable))
            assert passed == sorted(passed)
            assert passed[0][0] == 0
            assert passed[-1][0] == passed[-1][1] > 0
    assert len(digests) == 1


class Failing(AgentState, frozen=True):
    """On what one agent sent."""

    def apply(self, state: Any, record: Record, envelope: Envelope) -> Any:
        if envelope.sender == "agent-3":
            raise KeyError("agent-3")
        return super().apply(state, record, envelope)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fold_that_raises_is_named_wherever_it_runs(
    kafka: str, log: Namespace, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record and the line; in processes as here."""
    publish(kafka, log, range(60))
    monkeypatch.setattr(replay_module, "PROCESS_RECORDS_MIN", {True: 1, False: 1})
    with (
        KafkaLogReader(kafka) as reader,
        pytest.raises(AgentlogError, match=r"failed on .*\]@\d+: KeyError: .*test_replay.py:\d+\)"),
    ):
        replay(
            Failing(),
            reader=reader,
            namespace=log,
            codec=CODEC,
            workers=workers,
            open_codec=open_codec,
        )


def test_a_replay_stops_at_its_cut(kafka: str, log: Namespace) -> None:
    """What was appended after the cut is not in it, and the same cut gives the same state."""
    publish(kafka, log, range(20))
    projection = AgentState()
    with KafkaLogReader(kafka) as reader:
        cut = reader.ends(log.topics(projection.topics))
        before = replay(projection, reader=reader, namespace=log, codec=CODEC, cut=cut)
        publish(kafka, log, range(20, 40))
        again = replay(
            projection,
            reader=reader,
            namespace=log,
            codec=CODEC,
            cut=resolve_at(reader, log.topics(projection.topics), cut.encode(), 0),
        )
        now = replay(projection, reader=reader, namespace=log, codec=CODEC)
    assert again.digest == before.digest != now.digest


def test_filters_keep_to_one_agent(kafka: str, log: Namespace) -> None:
    """An agent's own entry is the same with and without the filter; an unused origin is empty."""
    publish(kafka, log, range(40))
    projection = AgentState()
    with KafkaLogReader(kafka) as reader:
        everyone = replay(projection, reader=reader, namespace=log, codec=CODEC)
        alone = replay(
            projection, reader=reader, namespace=log, codec=CODEC, filters=Filters(agent="agent-3")
        )
        nobody = replay(
            Metrics(),
            reader=reader,
            namespace=log,
            codec=CODEC,
            filters=Filters(origin="import:none"),
        )
    assert alone.state["agent-3"] == everyone.state["agent-3"]
    assert Metrics().view(nobody.state)["messages_sent"] == 0


@pytest.mark.parametrize(
    "wanted",
    [
        {"key": "c-1"},
        {"correlation": "c-2"},
        {"type": "TaskFinished"},
        {"type": "task_assignment"},
        {"channel": "nowhere"},
        {"key": "c-1", "type": "AssignTask", "agent": "agent-1"},
    ],
)
def test_a_filter_folds_what_it_accepts_and_nothing_else(
    kafka: str, log: Namespace, wanted: dict[str, str]
) -> None:
    """The same state as a fold of those alone; with a key, only its partitions are read."""
    publish(kafka, log, range(40))
    filters, projection = Filters(**wanted), Metrics()  # type: ignore[arg-type]
    with KafkaLogReader(kafka) as reader:
        found = replay(projection, reader=reader, namespace=log, codec=CODEC, filters=filters)
        everything = replay(projection, reader=reader, namespace=log, codec=CODEC)
        state = projection.initial()
        for source, end in everything.cut:
            part = projection.initial()
            for batch in reader.read(source, 0, end):
                for record in batch:
                    envelope = CODEC.decode(record.value, record.headers)
                    if filters.accept_key(record.key) and filters.accept(envelope):
                        part = projection.apply(part, record, envelope)
            state = projection.merge(state, part)
    assert found.digest == digest(state)
    assert (found.records < everything.records) == ("key" in wanted)


def test_event_time_bounds_are_half_open() -> None:
    """What was created at the first passes, what was created at the second does not."""
    some = Envelope(type="agentlog.Json", payload={}, created_at=5)
    assert Filters(created_from=5, created_to=6).accept(some)
    assert not Filters(created_from=6).accept(some)
    assert not Filters(created_to=5).accept(some)


def test_a_cut_of_another_log_is_refused(kafka: str, log: Namespace) -> None:
    """A cut beyond the end names the partition."""
    projection = AgentState()
    with KafkaLogReader(kafka) as reader:
        cut = reader.ends(log.topics(projection.topics))
        beyond = type(cut)(
            cluster_id=cut.cluster_id, topic_ids=cut.topic_ids, ends=dict.fromkeys(cut.ends, 7)
        )
        with pytest.raises(LogError, match="the log only reaches"):
            replay(projection, reader=reader, namespace=log, codec=CODEC, cut=beyond)


def test_a_fold_that_is_not_a_function_of_the_log_shows_in_its_digest(
    kafka: str, log: Namespace
) -> None:
    """What live = replayed is there to catch: a clock, a random number, a count of one's own."""

    class Unsteady(ChangeHistory):
        """Remembers something between two folds."""

        runs = 0

        def apply(self, state: Any, record: Record, envelope: Envelope) -> Any:
            Unsteady.runs += 1
            state["messages"] += Unsteady.runs
            return super().apply(state, record, envelope)

    publish(kafka, log, range(20))
    with KafkaLogReader(kafka) as reader:
        cut = reader.ends(log.topics(change_history.topics))
        steady, unsteady = (
            {
                replay(fold, reader=reader, namespace=log, codec=CODEC, cut=cut).digest
                for _ in range(2)
            }
            for fold in (change_history, Unsteady())
        )
    assert (len(steady), len(unsteady)) == (1, 2)
