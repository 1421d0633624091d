"""Projections: folds of the log into state.

- projection       what a projection is; `Stamp`, which last-writer-wins compares
- folding          the small pieces that folds are made of
- filters          which envelopes a replay folds
- agent_state      what the log knows of every agent
- agent_changes    what a stretch of the log did to one agent
- metrics          S3.18; metrics_columns does the same in columns
- columnar         record values to columns
- partition_fold   folding one partition, by rows or in columns
"""

from consumers.projections.agent_state import AgentState
from consumers.projections.filters import EVERYTHING, Filters
from consumers.projections.metrics import Metrics
from consumers.projections.projection import Projection, Stamp

__all__ = ["EVERYTHING", "AgentState", "Filters", "Metrics", "Projection", "Stamp"]
