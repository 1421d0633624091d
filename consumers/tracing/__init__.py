"""Traces: a correlation, or a message, as the tree of what was sent because of what. Trails: all of
an agent's, a channel's or a correlation's records in the order of their times.

- tree        the causal tree; pure
- searching   which records belong to a trace
- endings     its messages, and how the groups finished with each
- finding     a trace at one moment of the index
- trail       an audit trail, read as it is asked for
- document    a trace as JSON; pure
- page        a trace as one page of HTML; pure
- words       what people read about it; pure
"""

from consumers.tracing.finding import Trace, Tracer
from consumers.tracing.tree import Ending, Message, Node, Sighting, build_tree

__all__ = ["Ending", "Message", "Node", "Sighting", "Trace", "Tracer", "build_tree"]
