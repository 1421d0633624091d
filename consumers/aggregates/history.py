"""One stream as it was at a moment, and the events that made it so.

The state comes from the latest checkpoint before the moment and the events behind it; the events
that are listed are those behind it, or all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from consumers.aggregates.aggregate import Aggregate, aggregate_of
from consumers.aggregates.rebuilding import Rebuilding
from consumers.aggregates.restoring import begin, events_of
from consumers.aggregates.states import MemoryStates
from streams.cuts import Cut
from streams.errors import ConfigurationError, LogError
from streams.ports import LogReader
from streams.record import Partition, Record
from streams.schemas import Codec
from streams.topics import EVENTS, Namespace
from streams.topics.partitioning import partition_for


class StreamAt(msgspec.Struct, frozen=True, kw_only=True):
    """A stream at a moment."""

    stream_id: str
    version: int
    state: Any
    events: Sequence[Record]
    """Those that were folded, the last one last."""
    source: Partition
    end: int
    """The first position of the partition that is not part of the moment."""
    began_at: int
    """Where the fold began: 0, or the end of a checkpoint."""


def stream_at(
    stream_id: str,
    aggregates: Sequence[Aggregate],
    *,
    reader: LogReader,
    codec: Codec,
    namespace: Namespace,
    cut: Cut,
    version: int | None = None,
    from_checkpoint: bool = True,
) -> StreamAt:
    """The stream below `cut`, or, with `version`, when it had so many events.

    Raises `ConfigurationError` for a stream of no aggregate that is given, `LogError` for one that
    has no events there, or fewer than `version`, and for a history that is not one.
    """
    aggregate = next((one for one in aggregates if one.owns(stream_id)), None)
    if aggregate is None:
        known = ", ".join(sorted(one.name for one in aggregates))
        raise ConfigurationError(
            f"{stream_id!r} is a stream of {aggregate_of(stream_id) or 'no'} aggregate; known here "
            f"are {known}; name the app of others with --app MODULE:NAME"
        )
    index = partition_for(stream_id.encode(), _count(cut, namespace))
    source, states = events_of(namespace, index), MemoryStates()
    end = cut.ends[source]
    rebuilding, start = Rebuilding([aggregate], codec, states), 0
    if from_checkpoint:
        rebuilding, start = begin(
            [aggregate], reader, codec, namespace, index, states, end_max=end, stream_id=stream_id
        )
        held = states.get(stream_id)
        if version is not None and held is not None and held.version > version:
            states = MemoryStates()
            rebuilding, start = Rebuilding([aggregate], codec, states), 0
    events = []
    for record in _of_stream(reader, source, start, end, stream_id):
        held = states.get(stream_id)
        if version is not None and held is not None and held.version == version:
            break
        before = rebuilding.events
        rebuilding.add([record])
        if rebuilding.events > before:
            events.append(record)
    held = states.get(stream_id)
    if held is None or (version is not None and held.version != version):
        has = f"has {held.version} events" if held is not None else "has no events"
        raise LogError(f"{stream_id} {has} below {source}@{end}")
    return StreamAt(
        stream_id=stream_id,
        version=held.version,
        state=held.value(),
        events=events,
        source=source,
        end=end,
        began_at=start,
    )


def _of_stream(
    reader: LogReader, source: Partition, start: int, end: int, stream_id: str
) -> Iterator[Record]:
    key = stream_id.encode()
    for batch in reader.read(source, start, end):
        yield from (record for record in batch if record.key == key)


def _count(cut: Cut, namespace: Namespace) -> int:
    topic = namespace.topic(EVENTS)
    return sum(1 for source in cut.ends if source.topic == topic)
