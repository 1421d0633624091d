"""What must hold for every projection: partitions may be folded apart and merged in any order."""

from __future__ import annotations

from consumers.projections import AgentState, Metrics
from consumers.testing.laws import laws_of
from examples.change_history import projection as change_history
from tests.consumers.projections.strategies import histories

TestAgentState = laws_of(AgentState(), histories())
TestMetrics = laws_of(Metrics(), histories())
TestChangeHistory = laws_of(change_history, histories())
