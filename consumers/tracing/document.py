"""A trace as one JSON object. Pure.

Nodes are a flat list, each cause before what it caused (`cause` and `depth` say where it belongs):
a chain of any length nests nothing.
"""

from __future__ import annotations

from typing import Any

from consumers.tracing.finding import Trace
from consumers.tracing.tree import Ending, Message, Node
from streams.envelope import Envelope
from streams.errors import DecodeError
from streams.headers import rfc3339
from streams.messages import payload_json


def trace_document(trace: Trace) -> dict[str, Any]:
    """What `agentlog trace --json` prints."""
    return {
        "asked": trace.asked,
        "correlation_id": trace.correlation,
        "cut": trace.cut.encode() if trace.cut is not None else None,
        "cut_short": trace.is_cut_short,
        "nodes": [_node(node) for node in trace.nodes],
    }


def payload_of(envelope: Envelope) -> Any:
    """The payload as JSON; what cannot be read is said to be so."""
    try:
        return payload_json(envelope.type, envelope.payload)
    except (DecodeError, ValueError, KeyError) as error:
        return {"unreadable": str(error)}


def _node(node: Node) -> dict[str, Any]:
    place = {"id": node.id, "cause": node.cause, "depth": node.depth, "note": node.note or None}
    return {**place, **(_message(node.message) if node.message is not None else {})}


def _message(message: Message) -> dict[str, Any]:
    envelope = message.envelope
    return {
        "type": envelope.type,
        "kind": envelope.kind,
        "sender": envelope.sender,
        "recipients": list(envelope.recipients),
        "correlation_id": envelope.correlation_id,
        "causation_id": envelope.causation_id,
        "channel_id": envelope.channel_id,
        "stream_id": envelope.stream_id,
        "created_at": rfc3339(envelope.created_at),
        "records": [
            {
                "record": str(one.place),
                "appended_at": rfc3339(one.appended_at_ms * 1000),
                "key": one.key,
                "redrive": one.redrive,
            }
            for one in message.sightings
        ],
        "endings": [ending_document(one) for one in message.endings],
        "payload": payload_of(envelope),
    }


def ending_document(ending: Ending) -> dict[str, Any]:
    """How a group finished with one record."""
    return {
        "group": ending.group,
        "record": str(ending.place),
        "outcome": ending.outcome,
        "reason": ending.reason,
        "detail": ending.detail,
        "settled_at": rfc3339(ending.settled_at_ms * 1000),
        "waited_ms_min": ending.waited_ms_min,
        "waited_ms_max": ending.waited_ms_max,
        "handling_ms_max": ending.handling_ms_max,
        "attempts": ending.attempts,
        "failed_handlers": list(ending.handlers),
        "dead_letter": str(ending.dead_letter) if ending.dead_letter is not None else None,
    }
