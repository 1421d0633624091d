"""Aggregates: state that only commands change, decided by one writer at a time.

- aggregate    what an aggregate is: `decide` and `evolve` by type; commands and events
- states       the state of a stream, and the table of a partition's
- rebuilding   records folded into states, and what must hold of them
- deciding     one command: from a state to events and an answer
- checkpoints  states written down, and found again; `code`: what they were made by
- restoring    where a rebuild begins
- runtime      the app that a worker runs
- shared_state the agents' shared state (S3.16)
"""

from consumers.aggregates.aggregate import Aggregate, Command, Event, Notice, Rejected
from consumers.aggregates.rebuilding import Rebuilding, StateDiffers, StreamBroken
from consumers.aggregates.runtime import AggregateApp
from consumers.aggregates.states import MemoryStates, StateTable, StreamState

__all__ = [
    "Aggregate",
    "AggregateApp",
    "Command",
    "Event",
    "MemoryStates",
    "Notice",
    "Rebuilding",
    "Rejected",
    "StateDiffers",
    "StateTable",
    "StreamBroken",
    "StreamState",
]
