"""Agents as they were: a read model from which the state of one agent at any moment is soon told.

- model     every touch of every agent, each eighth with the state that the agent came to
- asking    one agent at a cut: the states before it, and the few records since
"""

from consumers.agent_history.asking import AgentMoments, agent_at
from consumers.agent_history.model import AgentHistory

__all__ = ["AgentHistory", "AgentMoments", "agent_at"]
