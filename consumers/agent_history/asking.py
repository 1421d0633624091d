"""One agent at a cut: of each partition the last state before it, then the few records since."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import cbor2
import msgspec
import sqlalchemy as sa

from consumers.agent_history.model import STEP
from consumers.index.keys import TOPIC_NUMBERS
from consumers.projections import AgentState
from consumers.read_models import View
from streams.cuts import Cut
from streams.errors import LogError
from streams.record import Partition, Place, Record
from streams.schemas import Codec
from streams.topics import Namespace

_FOLD = AgentState()


class Lookup(Protocol):
    """Reads records by position."""

    def at(self, places: Iterable[Place]) -> Mapping[Place, Record]:
        """The records there; what no committed record is at is left out."""
        ...


class AgentMoments(msgspec.Struct, frozen=True):
    """An agent at a cut."""

    state: Mapping[str, Any] | None
    """As `AgentState` has it; None: nobody has sent it anything, nor it to anybody."""
    stored: int
    """Stored states that it was merged from."""
    read: int
    """Records that were read since those."""


def agent_at(
    view: View, lookup: Lookup, codec: Codec, namespace: Namespace, agent: str, cut: Cut
) -> AgentMoments:
    """What a replay with a filter for the agent comes to at this cut.

    Raises `LogError` if the rows do not reach up to the cut, or are of another log.
    """
    cut = cut.of(namespace.topics(_FOLD.topics))
    _require_reached(view, cut)
    number = _number(view, agent)
    found = AgentMoments(None, 0, 0)
    if number is None:
        return found
    parts: list[Any] = []
    since: list[Place] = []
    for source, end in cut:
        for position, state in _touches(view, namespace, number, source, end):
            if state is not None:
                parts.append(cbor2.loads(state))
                break
            since.append(Place(source, position))
    stored = len(parts)
    records = lookup.at(since)
    for place in since:
        record = records[place]
        envelope = codec.decode(record.value, record.headers)
        parts.append(_FOLD.apply({}, record, envelope)[agent])
    merged: Any = {}
    for part in parts:
        merged = _FOLD.merge(merged, {agent: part})
    return AgentMoments(merged.get(agent), stored, len(since))


def _require_reached(view: View, cut: Cut) -> None:
    here = view.cut
    if here is None or any(here.ends.get(source, 0) < end for source, end in cut if end):
        raise LogError(
            "the read model `agents` does not reach up to this moment yet; `agentlog projections "
            "run agents` brings it on, and without it `agentlog state` folds the log"
        )
    ids = {topic: here.topic_ids.get(topic, found) for topic, found in cut.topic_ids.items()}
    if (here.cluster_id, ids) != (cut.cluster_id, dict(cut.topic_ids)):
        raise LogError(
            "the read model `agents` is of another cluster, or of a topic that was deleted and "
            "made anew; `agentlog projections rebuild agents` makes it of this one"
        )


def _number(view: View, agent: str) -> int | None:
    names = view.tables["names"].c
    query = sa.select(names.number).where(names.agent == agent)
    return view.connection.execute(query).scalar_one_or_none()


def _touches(
    view: View, namespace: Namespace, number: int, source: Partition, end: int
) -> list[tuple[int, bytes | None]]:
    """The last touches below a position, latest first: one of them has a state, or there were
    none before.
    """
    touches = view.tables["touches"].c
    topic = TOPIC_NUMBERS[namespace.logical(source.topic)]
    query = (
        sa.select(touches.position, touches.state)
        .where(
            touches.number == number,
            touches.topic == topic,
            touches.partition == source.index,
            touches.position < end,
        )
        .order_by(touches.position.desc())
        .limit(STEP)
    )
    return [(row.position, row.state) for row in view.connection.execute(query)]
