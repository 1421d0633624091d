"""Agents at any moment, from rows and a few records: what a replay up to there comes to."""

from __future__ import annotations

import random
from typing import Any

import pytest

from consumers.agent_history import AgentHistory, AgentMoments, agent_at
from consumers.agent_history.model import STEP
from consumers.databases import Database
from consumers.projections import AgentState, Filters
from consumers.read_models import Generations, RowKeeper, catch_up, read_live
from consumers.replay import replay
from streams.cuts import Cut
from streams.envelope import Envelope, Kind
from streams.errors import LogError
from streams.identity import message_id
from streams.memory import MemoryLog, MemoryLogReader
from streams.record import Partition
from streams.schemas import Catalogue, Codec
from streams.topics import EVENTS, INBOX, TASKS, Namespace
from tests.consumers.tracing.stage import ReaderLookup

CODEC = Codec(Catalogue.load())
AGENTS = ("planner", "coder", "reviewer", "ägent")
SOURCES = [(TASKS, 0), (TASKS, 1), (INBOX, 0), (EVENTS, 3)]


class Stage:
    """A log in memory with touches of a few agents, and the rows of it."""

    def __init__(self, database: Database, namespace: str) -> None:
        self.namespace = Namespace(namespace)
        self.log = MemoryLog()
        self.log.provision(self.namespace)
        self.reader = MemoryLogReader(self.log)
        self.generations = Generations(database, AgentHistory(), self.namespace.name)
        self.lookup = ReaderLookup(self.reader)
        self._sent = 0

    def append(self, rng: random.Random, records: int) -> None:
        for _ in range(records):
            logical, index = rng.choice(SOURCES)
            source = Partition(self.namespace.topic(logical), index)
            envelope = self._envelope(rng)
            value = CODEC.encode(envelope)
            key = envelope.recipients[0] if envelope.recipients else "k"
            self.log.append(source, key.encode(), value[:-1] if rng.random() < 0.05 else value)

    def _envelope(self, rng: random.Random) -> Envelope:
        self._sent += 1
        task = f"t{self._sent}"
        made: Any = rng.choice(
            [
                (
                    "agentlog.task.AssignTask",
                    Kind.TASK_ASSIGNMENT,
                    {"task": {"id": task, "type": "t"}},
                ),
                (
                    "agentlog.task.TaskFinished",
                    Kind.TASK_RESULT,
                    {"task_id": task, "status": "completed"},
                ),
                (
                    "agentlog.agent.StatusReported",
                    Kind.STATUS_UPDATE,
                    {"agent_status": "busy", "current_tasks": [task]},
                ),
            ]
        )
        return Envelope(
            type=made[0],
            kind=made[1],
            payload=made[2],
            id=message_id(self._sent, "0" * 9),
            sender=rng.choice(AGENTS),
            recipients=tuple(rng.sample(AGENTS, rng.randint(0, 2))),
            channel_id=rng.choice((None, "c1", "c2")),
            created_at=1_700_000_000_000_000 + rng.randint(0, 10**9),
        )

    def now(self) -> Cut:
        return self.reader.ends(self.namespace.topics(AgentHistory.topics))

    def catch_up(self) -> None:
        assert catch_up(RowKeeper(self.generations, CODEC), self.reader, self.now())

    def at(self, agent: str, cut: Cut) -> AgentMoments:
        return read_live(
            self.generations,
            lambda view: agent_at(view, self.lookup, CODEC, self.namespace, agent, cut),
        )

    def replayed(self, agent: str, cut: Cut) -> Any:
        found = replay(
            AgentState(),
            reader=self.reader,
            namespace=self.namespace,
            codec=CODEC,
            cut=cut,
            filters=Filters(agent=agent),
            workers=1,
        )
        return found.state.get(agent)


@pytest.fixture
def stage(database: Database, namespace: str) -> Stage:
    return Stage(database, namespace)


def some_cut(rng: random.Random, now: Cut) -> Cut:
    ends = {source: rng.randint(0, end) for source, end in now}
    return Cut(cluster_id=now.cluster_id, topic_ids=now.topic_ids, ends=ends)


def test_an_agent_at_any_cut_is_what_a_replay_comes_to(stage: Stage) -> None:
    """However the rows were written, piece by piece or at once; few records are read for it."""
    rng = random.Random(7)
    compared = 0
    for _ in range(6):
        stage.append(rng, rng.randint(1, 120))
        stage.catch_up()
        for _ in range(6):
            cut = some_cut(rng, stage.now())
            for agent in AGENTS:
                found = stage.at(agent, cut)
                assert found.state == stage.replayed(agent, cut)
                assert found.read <= len(SOURCES) * (STEP - 1)
                compared += found.stored > 0 and found.read > 0
    assert compared > 20


def test_an_agent_that_nobody_knows_is_nothing(stage: Stage) -> None:
    """Neither before anything is stored about it nor at a cut before its first record."""
    stage.append(random.Random(1), 20)
    stage.catch_up()
    assert stage.at("nobody", stage.now()) == AgentMoments(None, 0, 0)
    now = stage.now()
    before = Cut(
        cluster_id=now.cluster_id, topic_ids=now.topic_ids, ends=dict.fromkeys(now.ends, 0)
    )
    assert stage.at("coder", before).state is None


def test_rows_that_are_behind_or_of_another_log_are_refused(stage: Stage) -> None:
    """Never a state that lacks what the cut has."""
    stage.append(random.Random(1), 20)
    stage.catch_up()
    stage.append(random.Random(2), 1)
    with pytest.raises(LogError, match="does not reach up to this moment"):
        stage.at("coder", stage.now())
    stage.catch_up()
    now = stage.now()
    stage.at("coder", now)
    foreign = Cut(cluster_id="other", topic_ids=now.topic_ids, ends=now.ends)
    with pytest.raises(LogError, match="another cluster"):
        stage.at("coder", foreign)
