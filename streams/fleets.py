"""Fleets: which agents each group runs, as the groups themselves say. Pure.

A fleet's workers register its agents, by name or by pattern. That is an event; the compacted
`registry` topic keeps the latest of each group, so that a publisher can tell without reading the
log whether an agent is anybody's.
"""

from __future__ import annotations

import re
from fnmatch import translate
from typing import Final, Self

import msgspec

from streams.envelope import Envelope

FLEET_REGISTERED: Final = "agentlog.agent.FleetRegistered"

AGENTS_MAX: Final = 1_000
"""Names and patterns that one fleet may register."""
ANSWERS_MAX: Final = 65_536
"""Agents whose answer is remembered; then the memory starts anew."""

_WILD: Final = frozenset("*?[")


class Fleet(msgspec.Struct, frozen=True, kw_only=True):
    """What one group registers. Names are full ones."""

    group: str
    agents: tuple[str, ...]
    """Names, or patterns: `*` stands for any text, `?` for one character, `[ab]` for one of
    these."""
    topics: tuple[str, ...]

    def registered(self) -> Envelope:
        """The event that says so, to be stamped."""
        return Envelope(
            type=FLEET_REGISTERED,
            stream_id=f"fleet/{self.group}",
            payload={
                "group": self.group,
                "agents": list(self.agents),
                "topics": list(self.topics),
            },
        )

    @classmethod
    def read(cls, envelope: Envelope) -> Self | None:
        """What a registration says; None for any other envelope.

        Raises `DecodeError` if its payload cannot be read.
        """
        if envelope.type != FLEET_REGISTERED:
            return None
        payload = envelope.payload
        return cls(
            group=payload["group"],
            agents=tuple(payload["agents"]),
            topics=tuple(payload["topics"]),
        )


class Fleets:
    """Every group's latest registration, and whom they know together."""

    def __init__(self) -> None:
        self._agents: dict[str, tuple[str, ...]] = {}
        self._names: frozenset[str] = frozenset()
        self._patterns: re.Pattern[str] | None = None
        self._answers: dict[str, bool] = {}

    def put(self, group: str, agents: tuple[str, ...]) -> None:
        """A group registers these, instead of what it had registered; none: it takes its leave."""
        if agents:
            self._agents[group] = agents
        else:
            self._agents.pop(group, None)
        registered = {agent for found in self._agents.values() for agent in found}
        patterns = sorted(agent for agent in registered if not _WILD.isdisjoint(agent))
        self._names = frozenset(registered.difference(patterns))
        self._patterns = re.compile("|".join(map(translate, patterns))) if patterns else None
        self._answers.clear()

    def knows(self, agent: str) -> bool:
        """Whether any group registered this agent, or a pattern that fits it."""
        answer = self._answers.get(agent)
        if answer is None:
            if len(self._answers) >= ANSWERS_MAX:
                self._answers.clear()
            answer = agent in self._names or (
                self._patterns is not None and self._patterns.match(agent) is not None
            )
            self._answers[agent] = answer
        return answer


def is_agent(name: object) -> bool:
    """Whether an agent can be called so, or a pattern be this: text that can be a record's key."""
    if not isinstance(name, str) or not name.strip():
        return False
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
