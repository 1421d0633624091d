"""Where a rebuild begins: behind the latest checkpoint that fits, or with the first event."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from consumers.aggregates.aggregate import SEPARATOR, Aggregate
from consumers.aggregates.checkpoints import fitting_checkpoint, load
from consumers.aggregates.code import made_by
from consumers.aggregates.rebuilding import Rebuilding
from consumers.aggregates.states import StateTable
from streams.errors import LogError
from streams.ports import LogReader
from streams.record import Partition
from streams.schemas import Codec
from streams.topics import EVENTS, SNAPSHOTS, Namespace

_log: Final = structlog.get_logger("agentlog.aggregates")


def events_of(namespace: Namespace, index: int) -> Partition:
    """The partition of `events` with this number."""
    return Partition(namespace.topic(EVENTS), index)


def snapshots_of(namespace: Namespace, index: int) -> Partition:
    """The partition of `snapshots` that has its checkpoints."""
    return Partition(namespace.topic(SNAPSHOTS), index)


def begin(
    aggregates: Sequence[Aggregate],
    reader: LogReader,
    codec: Codec,
    namespace: Namespace,
    index: int,
    states: StateTable,
    *,
    end_max: int,
    stream_id: str | None = None,
) -> tuple[Rebuilding, int]:
    """A rebuild of one partition's streams (or of one of them) in an empty table, and the position
    to go on from; no checkpoint beyond `end_max` is used.
    """
    topic, snapshots = namespace.topic(EVENTS), snapshots_of(namespace, index)
    topic_id = reader.ends([topic]).topic_ids[topic]
    made = {one.name: made_by(one, codec) for one in aggregates}
    try:
        checkpoint = fitting_checkpoint(
            reader, codec, snapshots, topic_id=topic_id, end_max=end_max, wanted=made
        )
        wanted = _wanted(aggregates, stream_id)
        if checkpoint is not None and load(reader, codec, checkpoint, states, wanted):
            return Rebuilding(aggregates, codec, states, epoch=checkpoint.epoch), checkpoint.end
    except LogError as error:  # no topic for them, or removed by retention
        _log.warning("no_checkpoint_to_read", partition=str(snapshots), error=str(error))
    return Rebuilding(aggregates, codec, states), 0


def fold(
    rebuilding: Rebuilding, reader: LogReader, source: Partition, start: int, end: int
) -> None:
    """Go on from one position to another."""
    for batch in reader.read(source, start, end):
        rebuilding.add(batch)


def _wanted(aggregates: Sequence[Aggregate], stream_id: str | None) -> Callable[[str], bool]:
    if stream_id is not None:
        return lambda found: found == stream_id
    names = {one.name for one in aggregates}
    return lambda found: found.partition(SEPARATOR)[0] in names
