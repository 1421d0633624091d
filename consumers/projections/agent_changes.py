"""What a stretch of the log did to one agent, and which records did it.

For a fold of a stretch, not of the whole log: what it comes to is merged into what `AgentState`
was before. Of the records it keeps where they are and what they are about, and only the first.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from consumers.projections.agent_state import AgentState
from streams.envelope import Envelope
from streams.record import Record

State = dict[str, Any]
"""`agents`: as `AgentState` has them, of the one alone. `changed`: how many records changed it;
`first`: `Did` of the first of them, as lists."""

_AGENTS: Final = AgentState()


class Did(msgspec.Struct, frozen=True, array_like=True, order=True):
    """A record that changed something; in the order of append times, then of places."""

    appended_at_ms: int
    topic: str
    partition: int
    position: int
    id: str
    type: str
    sender: str
    recipients: list[str]
    correlation_id: str | None


class AgentChanges(msgspec.Struct, frozen=True):
    """The projection of one agent's changes."""

    agent: str
    records_max: int
    """Records that it keeps the place of; the others are counted."""
    name: str = "agent-changes"
    version: int = 1
    topics: tuple[str, ...] = _AGENTS.topics

    def initial(self) -> State:
        """Nothing has changed."""
        return {"agents": {}, "changed": 0, "first": []}

    def apply(self, state: State, record: Record, envelope: Envelope) -> State:
        """Note a record that changes what the log knows of the agent."""
        change = _AGENTS.apply({}, record, envelope)
        if self.agent not in change:
            return state
        _AGENTS.merge(state["agents"], {self.agent: change[self.agent]})
        state["changed"] += 1
        if len(state["first"]) < self.records_max:
            state["first"].append(
                [
                    record.appended_at_ms,
                    record.topic,
                    record.partition,
                    record.position,
                    envelope.id,
                    envelope.type,
                    envelope.sender,
                    list(envelope.recipients),
                    envelope.correlation_id,
                ]
            )
        return state

    def merge(self, a: State, b: State) -> State:
        """Changes add up; the first of both are kept."""
        _AGENTS.merge(a["agents"], b["agents"])
        a["changed"] += b["changed"]
        # No two are at the same place, so what cannot be compared is never reached.
        a["first"] = sorted([*a["first"], *b["first"]])[: self.records_max]
        return a

    def view(self, state: State) -> dict[str, Any]:
        """The agents as `AgentState` shows them, and the records as `Did`."""
        return {
            **_AGENTS.view(state["agents"]),
            "changed": state["changed"],
            "first": [msgspec.convert(one, Did) for one in state["first"]],
        }
