"""A projection of your own: who changed what, from an imported change history.

    agentlog publish --file history.jsonl.gz
    agentlog replay projection examples.change_history:projection --json

Four functions make a projection. `apply` sees the records of one partition in order and may change
the state in place; partitions run in parallel and meet in `merge`, so everything here either adds
up or lets the newest win.
"""

import json
from typing import Any

from consumers.projections.folding import (
    add_counts,
    count,
    keep_newest,
    merge_newest,
    newest,
)
from consumers.projections.projection import Stamp
from streams.envelope import Envelope, Kind
from streams.record import Record

State = dict[str, Any]

COUNTS = (
    "by_channel",
    "by_sender",
    "by_status",
    "by_type",
    "insertions_by_agent",
    "deletions_by_agent",
)


class ChangeHistory:
    """Counts of messages and changes, and the task that each agent finished last."""

    name = "change-history"
    version = 1
    topics = ("tasks", "inbox", "channels", "events", "replies")

    def initial(self) -> State:
        """Nothing has happened."""
        return {
            "messages": 0,
            "execution_ms_total": 0,
            "last_task_by_agent": {},
            **{name: {} for name in COUNTS},
        }

    def apply(self, state: State, record: Record, envelope: Envelope) -> State:
        """One more message of the history. What was sent live is not part of it."""
        if envelope.import_seq is None:
            return state
        if envelope.kind is Kind.TASK_RESULT:
            self.on_task_result(state, record, envelope)
        state["messages"] += 1
        count(state["by_sender"], envelope.sender)
        count(state["by_type"], envelope.kind.value)
        if envelope.channel_id is not None:
            count(state["by_channel"], envelope.channel_id)
        return state

    def on_task_result(self, state: State, record: Record, envelope: Envelope) -> None:
        """An agent finished a task: its status, its size, its cost."""
        result, agent = envelope.payload, envelope.sender
        changes = json.loads(result["result"] or "{}")
        if not isinstance(changes, dict):  # a result may be any JSON
            changes = {}
        metrics = result["metrics"] or {}
        count(state["by_status"], result["status"])
        count(state["insertions_by_agent"], agent, changes.get("insertions", 0))
        count(state["deletions_by_agent"], agent, changes.get("deletions", 0))
        state["execution_ms_total"] += metrics.get("execution_time") or 0
        # Timestamps tie: the stamp falls back on the place in the import.
        stamp = Stamp.of(record, envelope)
        keep_newest(state["last_task_by_agent"], agent, stamp, result["task_id"])

    def merge(self, a: State, b: State) -> State:
        """Two sets of partitions, taken together."""
        for name in COUNTS:
            add_counts(a[name], b[name])
        for name in ("messages", "execution_ms_total"):
            a[name] += b[name]
        merge_newest(a["last_task_by_agent"], b["last_task_by_agent"])
        return a

    def view(self, state: State) -> State:
        """As people see it: sorted, and without the stamps."""
        return {
            "messages": state["messages"],
            "execution_ms_total": state["execution_ms_total"],
            **{name: dict(sorted(state[name].items())) for name in COUNTS},
            "last_task_by_agent": newest(state["last_task_by_agent"]),
        }


projection = ChangeHistory()
