"""The agents' shared state (S3.16) as an aggregate: one stream of versions per key.

    app = AggregateApp("state", shared_state())

Every `SetEntry` leads to a new version; with `expected_version` only if the entry is still at that
one, which makes read-modify-write atomic. The event always has the value. Unless the command says
otherwise everybody is told (`StateChanged`), or those whom it names; that notice has the value only
if the command says so. The compacted `state` topic keeps the latest entry of each key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from consumers.aggregates.aggregate import Aggregate, Command, Event, Notice, Rejected
from streams.envelope import Envelope, Kind
from streams.shared_state import ENTRY_SET, SET_ENTRY, STATE, STATE_CHANGED, entry_stream

State = dict[str, Any]


def shared_state() -> Aggregate:
    """The aggregate; one app of a deployment decides for it."""
    made = Aggregate(STATE, initial=dict)
    made.decide(SET_ENTRY)(_set)
    made.evolve(ENTRY_SET)(_evolve)
    return made


def _set(_state: State, command: Command) -> Iterator[Envelope | Notice]:
    said, sender = command.payload, command.envelope.sender
    key = said["key"]
    if command.stream_id != entry_stream(key):
        raise Rejected("ForeignKey", f"{command.stream_id} is not the stream of key {key!r}")
    try:
        json.loads(said["value"])
    except ValueError as error:
        raise Rejected("NotJson", f"the value of {key!r} is no JSON: {error}") from error
    at = command.envelope.created_at
    yield Envelope(
        type=ENTRY_SET,
        payload={"key": key, "value": said["value"], "updated_by": sender, "updated_at": at},
    )
    changed = {
        "key": key,
        "version": command.version + 1,
        "updated_by": sender,
        "updated_at": at,
        "full_value": said["value"],
    }
    cached = Envelope(type=STATE_CHANGED, kind=Kind.STATE_CHANGE, payload=changed)
    yield Notice(cached, cached_as=key)
    if said["notify"]:
        told = changed if said["include_value"] else {**changed, "full_value": None}
        yield Notice(cached.with_(payload=told, recipients=tuple(said["subscribers"])))


def _evolve(_state: State, event: Event) -> State:
    said = event.payload
    return {
        "value": said["value"],
        "updated_by": said["updated_by"],
        "updated_at": said["updated_at"],
    }
