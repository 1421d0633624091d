"""Histories for hypothesis: envelopes of every shape that the folds look at, as records."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from consumers.journal import OUTCOMES_RECORDED
from consumers.journal.outcomes import Outcome
from streams.envelope import Envelope, Kind
from streams.identity import message_id
from streams.record import Record
from streams.schemas import Catalogue, Codec

CODEC = Codec(Catalogue.load())
AGENTS = st.sampled_from(["agent-0", "agent-1", "agent-2", "ägent"])
TOPICS = st.sampled_from([f"ns.{name}" for name in ("tasks", "inbox", "replies", "events")])


def assignment(task: str) -> tuple[str, Kind, dict[str, Any]]:
    return ("agentlog.task.AssignTask", Kind.TASK_ASSIGNMENT, {"task": {"id": task, "type": "t"}})


def result(task: str) -> tuple[str, Kind, dict[str, Any]]:
    payload = {
        "task_id": task,
        "status": "completed",
        "metrics": {"execution_time": 7},
        "result": '{"insertions": 2, "deletions": 1}',
    }
    return "agentlog.task.TaskFinished", Kind.TASK_RESULT, payload


def status(task: str) -> tuple[str, Kind, dict[str, Any]]:
    return (
        "agentlog.agent.StatusReported",
        Kind.STATUS_UPDATE,
        {"agent_status": "busy", "current_tasks": [task]},
    )


def request(task: str) -> tuple[str, Kind, dict[str, Any]]:
    return "agentlog.Json", Kind.REQUEST, {"json": f'{{"about": "{task}"}}'}


def journal(failed: int) -> tuple[str, Kind, dict[str, Any]]:
    """What one commit that handled 10 records and dead-lettered some would say."""
    return (
        OUTCOMES_RECORDED,
        Kind.EVENT,
        {
            "group": "ns.fleet",
            "topic": "ns.tasks",
            "partition": 0,
            "prefix_from": 0,
            "prefix_to": 10 + failed,
            "finished": [
                {"outcome": "handled", "runs": [0, 4, 1, 6]},
                {"outcome": "dead_lettered", "runs": [11, failed]},
            ],
            "delivery_buckets": [{"index": 3, "count": 10}],
            "delivery_ms_sum": 30,
            "exceptions": [
                {"position": 11 + n, "outcome": Outcome.DEAD_LETTERED.value, "reason": "ValueError"}
                for n in range(failed)
            ],
        },
    )


BODIES = st.one_of(
    st.builds(
        lambda make, n: make(f"task-{n}"),
        st.sampled_from([assignment, result, status, request]),
        st.integers(0, 3),
    ),
    st.builds(journal, st.integers(0, 2)),
)


@st.composite
def envelopes(draw: st.DrawFn) -> Envelope:
    type_name, kind, payload = draw(BODIES)
    origin = draw(st.sampled_from([None, "import:a", "import:b"]))
    headers = (
        {} if origin is None else {"origin": origin, "import_seq": str(draw(st.integers(1, 99)))}
    )
    return Envelope(
        type=type_name,
        kind=kind,
        payload=payload,
        sender=draw(AGENTS),
        id=message_id(draw(st.integers(1, 10**12)), "abcdefghi"),
        recipients=tuple(draw(st.lists(AGENTS, max_size=3))),
        channel_id=draw(st.sampled_from([None, "root", "docs"])),
        reply_to=draw(st.sampled_from([None, "inst-1"])),
        created_at=draw(st.integers(1, 5)) * 1_000_000,
        headers=headers,
    )


@st.composite
def histories(draw: st.DrawFn, partitions: int = 3, records: int = 12) -> list[list[Record]]:
    """Records of some partitions, in position order each."""
    return [
        [
            record_of(
                envelope,
                topic,
                index,
                position,
                draw(st.integers(1, 50)),
                draw(st.one_of(st.none(), AGENTS)),
            )
            for position, envelope in enumerate(draw(st.lists(envelopes(), max_size=records)))
        ]
        for index in range(partitions)
        for topic in [draw(TOPICS)]
    ]


def record_of(
    envelope: Envelope,
    topic: str = "ns.tasks",
    partition: int = 0,
    position: int = 0,
    appended_at_ms: int = 1,
    key: str | None = None,
) -> Record:
    return Record(
        topic=topic,
        partition=partition,
        position=position,
        appended_at_ms=appended_at_ms,
        key=None if key is None else key.encode(),
        value=CODEC.encode(envelope),
    )
