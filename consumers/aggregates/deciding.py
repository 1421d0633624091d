"""One command: from the state of its stream to events, the state after them, and an answer. Pure.

The ladder; the first that fits decides:

    foreign      the stream is not one of this aggregate's, or     answered, nothing happens
                 not the record's key: then its events are on
                 a partition that another worker may own
    conflict     the command expects another version               answered, nothing happens
    rejected     `decide` says why not                             answered, nothing happens
    accepted     its events, which may be none
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Final

import msgspec

from consumers.aggregates.aggregate import SEPARATOR, Aggregate, Command, Event, Notice, Rejected
from consumers.aggregates.rebuilding import short_digest
from consumers.aggregates.states import StreamState
from streams.envelope import Envelope, Kind
from streams.errors import AgentlogError
from streams.record import Record

EVENTS_MAX: Final = 1_000
"""Events of one command: they commit together."""


class Verdict(StrEnum):
    """What became of a command."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    """The aggregate says no."""
    CONFLICT = "conflict"
    """The stream is not at the version that the command expects."""


class TooManyEvents(AgentlogError):
    """`decide` returned more events than may commit together."""


class Decision(msgspec.Struct, frozen=True):
    """What a command leads to."""

    verdict: Verdict
    version: int
    """Of the stream afterwards."""
    state: StreamState | None
    """The stream afterwards; None if it has no events yet."""
    events: int = 0
    """How many were written."""
    digest: str = ""
    """Of the state afterwards (`STATE_DIGEST`), if there are events."""
    error_name: str = ""
    error_message: str = ""


def decide(
    aggregate: Aggregate,
    held: StreamState | None,
    record: Record,
    envelope: Envelope,
    *,
    epoch: int,
    write: Callable[[Envelope], Envelope],
    publish: Callable[[Notice], None],
) -> Decision:
    """What the command in `envelope` does to its stream.

    `write` takes each event and returns it as readers will see it: that is what `evolve` gets, so
    that a default of its schema means the same now and in a replay. `publish` takes notices.
    Raises what the user's code raises, and what these do; what was written counts for nothing then.
    """
    stream_id, version = envelope.stream_id or "", held.version if held is not None else 0
    if not aggregate.owns(stream_id):
        message = (
            f"{envelope.type} is for streams of aggregate {aggregate.name}, whose ids begin with "
            f"{aggregate.name + SEPARATOR!r}; this one is {stream_id!r}"
        )
        return _refused(Verdict.REJECTED, version, held, "ForeignStream", message)
    if record.key != stream_id.encode():
        message = f"{record} has another key than its stream {stream_id!r}"
        return _refused(Verdict.REJECTED, version, held, "ForeignKey", message)
    expected = envelope.expected_version
    if expected is not None and expected != version:
        message = f"{stream_id} is at version {version}, the command expects {expected}"
        return _refused(Verdict.CONFLICT, version, held, "VersionConflict", message)
    state = held.value() if held is not None else aggregate.initial()
    command = Command(stream_id, envelope.payload, envelope, version, record.appended_at_ms)
    try:
        decided = aggregate.decided(state, command)
    except Rejected as rejected:
        return _refused(Verdict.REJECTED, version, held, rejected.name, rejected.message)
    if len(decided) > EVENTS_MAX:
        raise TooManyEvents(
            f"{envelope.type} leads to {len(decided)} events of {stream_id}, which must commit "
            f"together; {EVENTS_MAX} is the limit: let one event say all of it"
        )
    after, events = held, 0
    for one in decided:
        if isinstance(one, Notice):
            publish(one)
            continue
        events += 1
        version += 1
        numbered = one.with_(
            kind=Kind.EVENT,
            recipients=(),
            stream_id=stream_id,
            stream_version=version,
            writer_epoch=epoch,
        )
        written = write(numbered)
        state = after.value() if after is not None else aggregate.initial()
        event = Event(stream_id, written.payload, written, version)
        after = StreamState.of(version, aggregate.evolved(state, event))
    digest = short_digest(after.value()) if events and after is not None else ""
    return Decision(Verdict.ACCEPTED, version, after, events, digest)


def _refused(
    verdict: Verdict, version: int, held: StreamState | None, name: str, message: str
) -> Decision:
    return Decision(verdict, version, held, error_name=name, error_message=message)
