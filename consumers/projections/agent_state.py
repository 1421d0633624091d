"""Agent state: what the log knows of every agent.

Per agent: messages sent and addressed to it by kind, tasks assigned and finished, its last task,
its last reported status, its channels, and when it was last heard of. A message to N named agents
is one message: of the copies in their inboxes, the one keyed by the first recipient counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from consumers.projections.folding import (
    add_counts,
    count,
    is_first_copy,
    keep_newest,
    merge_newest,
    newest,
)
from consumers.projections.metrics import DATA_TOPICS
from consumers.projections.projection import Stamp
from streams.envelope import Envelope
from streams.record import Record

ASSIGN_TASK: Final = "agentlog.task.AssignTask"
TASK_FINISHED: Final = "agentlog.task.TaskFinished"
STATUS_REPORTED: Final = "agentlog.agent.StatusReported"

State = dict[str, dict[str, Any]]
"""By agent id."""

_COUNTS: Final = ("sent", "received", "finished", "channels")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_US: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


class AgentState(msgspec.Struct, frozen=True):
    """The agent-state projection."""

    name: str = "state"
    version: int = 1
    topics: tuple[str, ...] = DATA_TOPICS

    def initial(self) -> State:
        """No agents."""
        return {}

    def apply(self, state: State, record: Record, envelope: Envelope) -> State:
        """Note the envelope with its sender and with every agent it names."""
        if not is_first_copy(record.topic, record.key, envelope.recipients, envelope.reply_to):
            return state
        told = _TOLD.get(envelope.type)
        latest = told(envelope) if told else None
        sender = _agent(state, envelope.sender)
        count(sender["sent"], envelope.kind.value)
        if envelope.channel_id is not None:
            count(sender["channels"], envelope.channel_id)
        sender["last_seen"] = max(sender["last_seen"], envelope.created_at)
        for recipient in envelope.recipients:
            count(_agent(state, recipient)["received"], envelope.kind.value)
        if latest:
            _note(state, Stamp.of(record, envelope), envelope, latest)
        return state

    def merge(self, a: State, b: State) -> State:
        """Counts add up; of the last ones, the newest."""
        for name, other in b.items():
            agent = _agent(a, name)
            for counts in _COUNTS:
                add_counts(agent[counts], other[counts])
            agent["assigned"] += other["assigned"]
            agent["last_seen"] = max(agent["last_seen"], other["last_seen"])
            merge_newest(agent["latest"], other["latest"])
        return a

    def view(self, state: State) -> dict[str, Any]:
        """`{"agents": {id: …}}`, times as RFC 3339."""
        return {"agents": {name: _shown(agent) for name, agent in sorted(state.items())}}


def _agent(state: State, name: str) -> dict[str, Any]:
    agent = state.get(name)
    if agent is None:
        agent = state[name] = {
            **{counts: {} for counts in _COUNTS},
            "assigned": 0,
            "last_seen": 0,
            "latest": {},
        }
    return agent


def _assigned(envelope: Envelope) -> dict[str, Any]:
    return {"task": {"id": envelope.payload["task"]["id"], "status": "assigned"}}


def _finished(envelope: Envelope) -> dict[str, Any]:
    return {"task": {"id": envelope.payload["task_id"], "status": envelope.payload["status"]}}


def _reported(envelope: Envelope) -> dict[str, Any]:
    said = envelope.payload
    return {
        "status": {
            "agent_status": said["agent_status"],
            "current_tasks": list(said["current_tasks"]),
        }
    }


_TOLD: Final = {ASSIGN_TASK: _assigned, TASK_FINISHED: _finished, STATUS_REPORTED: _reported}


def _note(state: State, stamp: Stamp, envelope: Envelope, latest: Mapping[str, Any]) -> None:
    is_assignment = envelope.type == ASSIGN_TASK
    for name in envelope.recipients if is_assignment else (envelope.sender,):
        agent = _agent(state, name)
        if is_assignment:
            agent["assigned"] += 1
        elif envelope.type == TASK_FINISHED:
            count(agent["finished"], latest["task"]["status"])
        for what, value in latest.items():
            keep_newest(agent["latest"], what, stamp, value)


def _shown(agent: Mapping[str, Any]) -> dict[str, Any]:
    latest = newest(agent["latest"])
    status = latest.get("status") or {"agent_status": None, "current_tasks": []}
    return {
        "sent": dict(sorted(agent["sent"].items())),
        "received": dict(sorted(agent["received"].items())),
        "tasks_assigned": agent["assigned"],
        "tasks_finished": dict(sorted(agent["finished"].items())),
        "last_task": latest.get("task"),
        "status": status["agent_status"],
        "current_tasks": status["current_tasks"],
        "channels": dict(sorted(agent["channels"].items())),
        "last_seen": _rfc3339(agent["last_seen"]),
    }


def _rfc3339(epoch_us: int) -> str | None:
    if not epoch_us:
        return None
    # Anybody may write to the log: a time beyond the calendar's end is shown as that end.
    instant = _EPOCH + timedelta(microseconds=min(epoch_us, _LATEST_US))
    return instant.isoformat().replace("+00:00", "Z")
