"""Traces: a correlation, or a message, as the tree of what was sent because of what.

- tree      the causal tree; pure
- finding   what belongs to a trace, from the index and the log
- page      a trace as one page of HTML
"""

from consumers.tracing.finding import Trace, Tracer
from consumers.tracing.tree import Ending, Message, Node, Sighting, build_tree

__all__ = ["Ending", "Message", "Node", "Sighting", "Trace", "Tracer", "build_tree"]
