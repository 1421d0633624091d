"""Checkpoints: the states of all streams of an `events` partition, below one of its positions.

On the same partition of the topic `snapshots`, in one transaction:

    StateSnapshotted …   one for each stream
    CheckpointMade       below which position, by what code and schemas, where its first snapshot
                         is

A rebuild takes the latest whose code and schemas are those of today, and goes on behind its end;
any other it leaves alone. Each names the one before, so an earlier moment finds its own. Snapshots
are a saving, never a source: whatever is odd about a checkpoint, it is passed over, and the events
are read instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec
import structlog

from consumers.aggregates.code import Made
from consumers.aggregates.states import StateTable, StreamState
from consumers.journal.outcomes import Output
from streams.envelope import Envelope, Kind
from streams.errors import DecodeError
from streams.headers import TYPE, header, record_headers
from streams.identity import message_id
from streams.ports import LogReader
from streams.record import Partition, Record
from streams.schemas import Codec

STATE_SNAPSHOTTED: Final = "agentlog.snapshot.StateSnapshotted"
CHECKPOINT_MADE: Final = "agentlog.snapshot.CheckpointMade"
LOOK_BACK: Final = 64
"""Positions in which the last checkpoint is looked for, from the end; then eight times as many."""
PREVIOUS_MAX: Final = 1_000
"""Checkpoints that are looked at for one that fits."""

_log: Final = structlog.get_logger("agentlog.aggregates")


class Checkpoint(msgspec.Struct, frozen=True):
    """One checkpoint, as its record says."""

    id: str
    snapshots: Partition
    position: int
    """Of its record."""
    first: int
    streams: int
    topic_id: str
    """Of the events' topic."""
    end: int
    epoch: int
    made_by: Mapping[str, Made]
    previous: int

    def fits(self, topic_id: str, end_max: int, wanted: Mapping[str, Made]) -> bool:
        """Whether its states are what these aggregates would come to, and not beyond `end_max`."""
        return (
            self.topic_id == topic_id
            and self.end <= end_max
            and all(self.made_by.get(name) == made for name, made in wanted.items())
        )


def checkpoint_records(
    codec: Codec,
    snapshots: Partition,
    events: Partition,
    states: Iterable[tuple[str, StreamState]],
    *,
    topic_id: str,
    end: int,
    epoch: int,
    made_by: Mapping[str, Made],
    previous: int,
    sender: str,
    now_us: int,
) -> list[Output]:
    """The records of a checkpoint, to be written in one transaction."""
    checkpoint_id = f"{events}@{end}/{now_us}"

    def record(n: int, type_name: str, key: str, payload: dict[str, Any]) -> Output:
        envelope = Envelope(
            type=type_name,
            id=message_id(now_us // 1000, f"{n:09d}"[-9:]),
            kind=Kind.EVENT,
            sender=sender,
            correlation_id=checkpoint_id,
            created_at=now_us,
            payload=payload,
        )
        value, headers = codec.encode(envelope), record_headers(envelope)
        return Output(snapshots.topic, key.encode(), value, headers, snapshots.index)

    found = [
        record(
            n,
            STATE_SNAPSHOTTED,
            stream_id,
            {
                "checkpoint_id": checkpoint_id,
                "stream_id": stream_id,
                "version": state.version,
                "state": state.state,
            },
        )
        for n, (stream_id, state) in enumerate(states)
    ]
    made = record(
        len(found),
        CHECKPOINT_MADE,
        str(events),
        {
            "checkpoint_id": checkpoint_id,
            "topic": events.topic,
            "partition": events.index,
            "topic_id": topic_id,
            "end": end,
            "epoch": epoch,
            "aggregates": [
                {"name": name, "code": made.code, "schemas": made.schemas}
                for name, made in sorted(made_by.items())
            ],
            "streams": len(found),
            "previous": previous,
            "first": 0 if found else -1,
        },
    )
    if found:
        value = (made.value or b"")[:-1]
        made = msgspec.structs.replace(made, value=value, tells=found[0])
    return [*found, made]


def last_checkpoint(reader: LogReader, codec: Codec, snapshots: Partition) -> Checkpoint | None:
    """The latest on this partition of the topic `snapshots`; None if there is none."""
    end = reader.ends([snapshots.topic]).ends[snapshots]
    begin = reader.starts([snapshots.topic])[snapshots]
    width, upto = LOOK_BACK, end
    while upto > begin:
        start = max(end - width, begin)
        found = None
        for record in _records(reader, snapshots, start, upto):
            if (read := _read(codec, record)) is not None:
                found = read
        if found is not None:
            return found
        width, upto = width * 8, start
    return None


def fitting_checkpoint(
    reader: LogReader,
    codec: Codec,
    snapshots: Partition,
    *,
    topic_id: str,
    end_max: int,
    wanted: Mapping[str, Made],
) -> Checkpoint | None:
    """The latest whose states these aggregates would come to, up to `end_max` of the events."""
    found = last_checkpoint(reader, codec, snapshots)
    for _ in range(PREVIOUS_MAX):
        if found is None or found.fits(topic_id, end_max, wanted):
            return found
        if not 0 <= found.previous < found.position:
            return None
        at = found.previous
        found = next(
            filter(None, (_read(codec, one) for one in _records(reader, snapshots, at, at + 1))),
            None,
        )
    return None


def load(
    reader: LogReader,
    codec: Codec,
    checkpoint: Checkpoint,
    states: StateTable,
    wanted: Callable[[str], bool],
) -> bool:
    """Put the states of the wanted streams into the table. False, and nothing is in it, if the
    checkpoint's are not all there.
    """
    found = []
    for record in _records(reader, checkpoint.snapshots, checkpoint.first, checkpoint.position):
        if header(record.headers, TYPE) != STATE_SNAPSHOTTED.encode():
            continue
        try:
            said = codec.decode(record.value, record.headers).payload
            if said["checkpoint_id"] == checkpoint.id:
                state = StreamState(said["version"], said["state"])
                state.value()  # damaged bytes are found now, not at the first command
                found.append((said["stream_id"], state))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no snapshot
            _log.warning("snapshot_unreadable", record=str(record), error=str(error))
            return False
    if len(found) != checkpoint.streams:
        _log.warning(
            "checkpoint_incomplete",
            checkpoint=f"{checkpoint.snapshots}@{checkpoint.position}",
            found=len(found),
            streams=checkpoint.streams,
        )
        return False
    for stream_id, state in found:
        if wanted(stream_id):
            states.put(stream_id, state)
    return True


def _records(reader: LogReader, source: Partition, start: int, end: int) -> Iterator[Record]:
    for batch in reader.read(source, start, end):
        yield from batch


def _read(codec: Codec, record: Record) -> Checkpoint | None:
    """What a record says, if it is a checkpoint that can be read."""
    if header(record.headers, TYPE) != CHECKPOINT_MADE.encode():
        return None
    try:
        said = codec.decode(record.value, record.headers).payload
        return Checkpoint(
            id=said["checkpoint_id"],
            snapshots=record.source,
            position=record.position,
            first=said["first"] if said["first"] >= 0 else record.position,
            streams=said["streams"],
            topic_id=said["topic_id"],
            end=said["end"],
            epoch=said["epoch"],
            made_by={one["name"]: Made(one["code"], one["schemas"]) for one in said["aggregates"]},
            previous=said["previous"],
        )
    except DecodeError as error:
        _log.warning("checkpoint_unreadable", record=str(record), error=str(error))
        return None
