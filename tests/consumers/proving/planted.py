"""Folds with one mistake each: what a proof is there to find.

The mistake is made at the record whose correlation is `CULPRIT`, and at no other.
"""

from __future__ import annotations

import collections
import itertools
import random
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from consumers.aggregates import Aggregate, AggregateApp, Command, Event
from consumers.projections.folding import add_counts, count
from streams.envelope import Envelope
from streams.record import Record
from streams.shared_state import ENTRY_SET, SET_ENTRY

CULPRIT: Final = "culprit"
NAMES: Final = tuple(f"name-{n}" for n in range(12))

State = dict[str, Any]
_counter = itertools.count()


class Steady:
    """Counts, and has no mistake in it."""

    name = "steady"
    version = 1
    topics: tuple[str, ...] = ("tasks",)

    def initial(self) -> State:
        return {"messages": 0, "by_sender": {}, "seen": None}

    def apply(self, state: State, record: Record, envelope: Envelope) -> State:
        state["messages"] += 1
        count(state["by_sender"], envelope.sender)
        if envelope.correlation_id == CULPRIT:
            state["seen"] = self.seen(record)
        return state

    def seen(self, record: Record) -> Any:
        return record.appended_at_ms

    def merge(self, a: State, b: State) -> State:
        a["messages"] += b["messages"]
        add_counts(a["by_sender"], b["by_sender"])
        a["seen"] = max(a["seen"], b["seen"], key=lambda one: (one is not None, str(one)))
        return a

    def view(self, state: State) -> State:
        return state


class WallClock(Steady):
    def seen(self, record: Record) -> Any:
        return time.time_ns()


class Random(Steady):
    def seen(self, record: Record) -> Any:
        return random.random()


class Remembers(Steady):
    def seen(self, record: Record) -> Any:
        return next(_counter)


class SetOrder(Steady):
    def seen(self, record: Record) -> Any:
        return list(set(NAMES))


class Unstorable(Steady):
    """A tuple comes back from storage as a list."""

    def apply(self, state: State, record: Record, envelope: Envelope) -> State:
        if isinstance(state["seen"], tuple):
            state["messages"] += 1
        return super().apply(state, record, envelope)

    def seen(self, record: Record) -> Any:
        return ("a", "b")


class DefaultDict(Unstorable):
    """A defaultdict comes back as a dict, and fails on the next key."""

    def apply(self, state: State, record: Record, envelope: Envelope) -> State:
        if state["seen"] is not None:
            state["seen"]["a"] = max(state["seen"]["b"], 1)
            del state["seen"]["b"]
        return Steady.apply(self, state, record, envelope)

    def seen(self, record: Record) -> Any:
        return collections.defaultdict(int, a=1)


class InitialClock(Steady):
    def initial(self) -> State:
        return {**super().initial(), "seen": time.time_ns()}


class Fails(Steady):
    def seen(self, record: Record) -> Any:
        raise KeyError("planted")


class Objects(Steady):
    """A state that has no canonical form."""

    def seen(self, record: Record) -> Any:
        return object()


class Endless(Steady):
    def seen(self, record: Record) -> Any:
        threading.Event().wait()


class FloatSum(Steady):
    """Sums of floats hang on the order that they are added in."""

    def initial(self) -> State:
        return {**super().initial(), "cost": 0.0}

    def apply(self, state: State, record: Record, envelope: Envelope) -> State:
        state["cost"] += (0.1, 0.7, 1e-9, 1e9, 0.3)[record.partition % 5]
        return super().apply(state, record, envelope)

    def merge(self, a: State, b: State) -> State:
        a["cost"] += b["cost"]
        return super().merge(a, b)


class TakesTheOther(Steady):
    """A merge that does not commute."""

    def merge(self, a: State, b: State) -> State:
        taken = a["by_sender"] if not b["by_sender"] else b["by_sender"]
        return {**super().merge(a, b), "by_sender": dict(taken)}


class Averages(Steady):
    """A merge that commutes and does not associate."""

    def merge(self, a: State, b: State) -> State:
        both = [one["messages"] for one in (a, b) if one["messages"]]
        merged = super().merge(a, b)
        return {**merged, "messages": sum(both) // len(both) if both else 0}


class CountsMerges(Steady):
    """A merge to which the initial state is not neutral."""

    def merge(self, a: State, b: State) -> State:
        merged = super().merge(a, b)
        return {**merged, "messages": merged["messages"] + 1}


class MergeClock(Steady):
    """A merge that is not the same twice."""

    def merge(self, a: State, b: State) -> State:
        found = {"seen": time.time_ns()} if a["messages"] and b["messages"] else {}
        return {**super().merge(a, b), **found}


class MergeHash(Steady):
    """A merge that hangs on the order of hashes."""

    def merge(self, a: State, b: State) -> State:
        both = a["messages"] and b["messages"]
        merged = super().merge(a, b)
        return {**merged, "seen": sorted(merged["by_sender"], key=hash)} if both else merged


class Columns(Steady):
    """Columns that do not say what rows say."""

    columnar_topics = ("tasks",)

    def apply_rows(self, state: State, rows: Any, filters: Any) -> State:
        state["messages"] += rows.table.num_rows
        return state


# --- aggregates ----------------------------------------------------------------------------------


def entries(seen: Any) -> Sequence[Aggregate]:
    """An aggregate of entries whose state also has what `seen` gives for an event."""
    made = Aggregate("state", initial=dict)

    @made.decide(SET_ENTRY)
    def _set(_state: State, command: Command) -> Envelope:
        said = {name: command.payload[name] for name in ("key", "value")}
        payload = {**said, "updated_by": command.envelope.sender, "updated_at": 0}
        return Envelope(type=ENTRY_SET, payload=payload)

    @made.evolve(ENTRY_SET)
    def _evolve(state: State, event: Event) -> State:
        bad = event.payload["value"] == f'"{CULPRIT}"'
        return {"value": event.payload["value"], "seen": seen() if bad else state.get("seen")}

    return (made,)


def steady_entries() -> Sequence[Aggregate]:
    return entries(lambda: 0)


def other_entries() -> Sequence[Aggregate]:
    return entries(lambda: 1)


def clocked_entries() -> Sequence[Aggregate]:
    return entries(time.time_ns)


def remembering_entries() -> Sequence[Aggregate]:
    return entries(lambda: next(_counter))


def hashed_entries() -> Sequence[Aggregate]:
    return entries(lambda: list(set(NAMES)))


# --- as MODULE:NAME ------------------------------------------------------------------------------

steady = Steady()
set_order = SetOrder()
steady_app = AggregateApp("state", *steady_entries(), dedup_window=1_000)
clocked_app = AggregateApp("state", *clocked_entries(), dedup_window=1_000)
float_sum = FloatSum()
