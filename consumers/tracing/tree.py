"""The causal tree: which message was sent because of which. Pure.

An edge is a `causation_id`. A cause that is not among the messages stands as a node of its own
without a message; messages that cause each other in a circle (anybody may write to the log) begin
at the earliest of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from streams.envelope import Envelope
from streams.record import Place

Note = Literal["", "missing", "outside", "circle"]


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How one group finished with one record. Times are milliseconds; None is not known."""

    group: str
    """As people name it, without the namespace."""
    place: Place
    """The record."""
    outcome: str
    reason: str = ""
    detail: str = ""
    settled_at_ms: int
    """Epoch: when its commit was appended."""
    waited_ms_min: int | None = None
    waited_ms_max: int | None = None
    """From its append to its dispatch, between these: the journal has it per commit."""
    handling_ms_max: int | None = None
    """From its dispatch to its commit: retries, and waiting for the commit, are in it."""
    attempts: int | None = None
    handlers: tuple[str, ...] = ()
    """Those that failed."""
    dead_letter: Place | None = None


class Sighting(msgspec.Struct, frozen=True):
    """One record of a message: each recipient of an inbox has one, each redrive adds one."""

    place: Place
    appended_at_ms: int
    key: str
    redrive: int = 0


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One envelope, wherever it is on the log."""

    envelope: Envelope
    sightings: tuple[Sighting, ...]
    """At least one, in order of append time."""
    endings: tuple[Ending, ...] = ()
    is_outside: bool = False
    """It is the cause of something traced, and itself of another correlation."""

    @property
    def appended_at_ms(self) -> int:
        """When it was first on the log."""
        return self.sightings[0].appended_at_ms


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One place in the tree."""

    id: str
    depth: int
    """0 for a root."""
    cause: str | None
    """Id of the node above."""
    message: Message | None
    """None where the cause is not on the log."""
    note: Note = ""


def build_tree(messages: Sequence[Message]) -> list[Node]:
    """Every message once, each cause before what it caused, siblings by append time."""
    by_id = {one.envelope.id: one for one in sorted(messages, key=_order, reverse=True)}
    ordered = sorted(by_id.values(), key=_order)
    children: dict[str, list[Message]] = {}
    roots: dict[str, Note] = {}
    for one in ordered:
        cause = None if one.is_outside else one.envelope.causation_id
        if not cause:
            roots.setdefault(one.envelope.id, "outside" if one.is_outside else "")
            continue
        children.setdefault(cause, []).append(one)
        if cause not in by_id:
            roots.setdefault(cause, "missing")
    nodes: list[Node] = []
    seen: set[str] = set()
    for root, note in roots.items():
        _descend(root, note, by_id, children, seen, nodes)
    for one in ordered:  # what no root leads to goes round in a circle
        if one.envelope.id not in seen:
            _descend(one.envelope.id, "circle", by_id, children, seen, nodes)
    return nodes


def _order(one: Message) -> tuple[int, Place]:
    return one.appended_at_ms, one.sightings[0].place


def _descend(
    root: str,
    note: Note,
    by_id: Mapping[str, Message],
    children: Mapping[str, Sequence[Message]],
    seen: set[str],
    nodes: list[Node],
) -> None:
    """Add a root and what is below it. A loop, not a recursion: chains may be long."""
    waiting: list[tuple[str, int, str | None, Note]] = [(root, 0, None, note)]
    while waiting:
        found, depth, cause, note = waiting.pop()
        if found in seen:
            continue
        seen.add(found)
        nodes.append(Node(id=found, depth=depth, cause=cause, message=by_id.get(found), note=note))
        below = reversed(children.get(found, ()))
        waiting += [(one.envelope.id, depth + 1, found, "") for one in below]
