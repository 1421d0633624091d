"""What is folded: a projection, or the streams of aggregates, behind one shape.

A subject goes to another process by what opens it there (a function that pickles), so that the
code is imported anew and nothing that it remembers comes along.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, Protocol

from consumers.aggregates import Aggregate, MemoryStates, Rebuilding, StreamState
from consumers.projections import Projection
from consumers.projections.partition_fold import PartitionFold
from streams.record import Record
from streams.schemas import Codec


class Folding(Protocol):
    """One partition being folded."""

    @property
    def undecodable(self) -> int:
        """Records that could not be decoded, and were passed over."""
        ...

    def add(self, records: Sequence[Record]) -> None:
        """Fold a batch. Raises `AgentlogError` that names the record."""
        ...

    def value(self) -> Any:
        """The state so far: what `streams.digest` takes and CBOR keeps."""
        ...


class Subject(Protocol):
    """What a proof is about. It pickles."""

    def begin(self, codec: Codec, value: Any = None) -> Folding:
        """A fold of one partition, from its beginning or from a value that another came to."""
        ...


class ProjectionSubject:
    """A projection, as `open_projection` finds it."""

    def __init__(self, open_projection: Callable[[], Projection[Any]]) -> None:
        self._open = open_projection

    @cached_property
    def projection(self) -> Projection[Any]:
        """The projection, opened once in each process."""
        return self._open()

    def begin(self, codec: Codec, value: Any = None) -> Folding:
        """A fold of one partition."""
        return _Partition(PartitionFold(self.projection, codec, state=value))

    def __reduce__(self) -> tuple[Any, ...]:
        return ProjectionSubject, (self._open,)


class StreamsSubject:
    """The streams of aggregates, as `open_aggregates` finds them: those of a whole partition, or
    one. The value is `{"epoch": …, "streams": {id: {"version": …, "state": …}}}`.

    With `verify` a state that is not what the log says of it raises `StateDiffers`.
    """

    def __init__(
        self,
        open_aggregates: Callable[[], Sequence[Aggregate]],
        *,
        stream_id: str | None = None,
        verify: bool = True,
    ) -> None:
        self.open_aggregates = open_aggregates
        self._stream_id = stream_id
        self._verify = verify

    @cached_property
    def aggregates(self) -> Sequence[Aggregate]:
        """The aggregates, opened once in each process."""
        return self.open_aggregates()

    def of_stream(self, stream_id: str) -> StreamsSubject:
        """One stream alone, and not compared with what the log says of it."""
        return StreamsSubject(self.open_aggregates, stream_id=stream_id, verify=False)

    def begin(self, codec: Codec, value: Any = None) -> StreamsFolding:
        """A fold of one partition of `events`."""
        rebuilding = Rebuilding(
            self.aggregates,
            codec,
            MemoryStates(),
            epoch=value["epoch"] if value else 0,
            verify=self._verify,
        )
        for stream_id, held in (value["streams"] if value else {}).items():
            rebuilding.states.put(stream_id, StreamState.of(held["version"], held["state"]))
        return StreamsFolding(rebuilding, self._stream_id)

    def __reduce__(self) -> tuple[Any, ...]:
        return _streams_subject, (self.open_aggregates, self._stream_id, self._verify)


def _streams_subject(
    open_aggregates: Callable[[], Sequence[Aggregate]], stream_id: str | None, verify: bool
) -> StreamsSubject:
    return StreamsSubject(open_aggregates, stream_id=stream_id, verify=verify)


class _Partition:
    def __init__(self, fold: PartitionFold[Any]) -> None:
        self._fold = fold

    @property
    def undecodable(self) -> int:
        return self._fold.tally.undecodable

    def add(self, records: Sequence[Record]) -> None:
        self._fold.add(records)

    def value(self) -> Any:
        return self._fold.finish()[0]


class StreamsFolding:
    """The streams of one partition being folded."""

    def __init__(self, rebuilding: Rebuilding, stream_id: str | None) -> None:
        self._rebuilding = rebuilding
        self._key = stream_id.encode() if stream_id is not None else None
        self.at: Record | None = None
        """The record that is being folded: which one it was, if that fails."""

    @property
    def undecodable(self) -> int:
        """None: an event that cannot be read is an error here."""
        return 0

    @property
    def counts(self) -> dict[str, int]:
        """Events folded, and those whose state was the one on the log."""
        return {"events": self._rebuilding.events, "verified": self._rebuilding.verified}

    def add(self, records: Sequence[Record]) -> None:
        """Fold a batch."""
        for record in records:
            if self._key is None or record.key == self._key:
                self.at = record
                self._rebuilding.add([record])

    def value(self) -> Any:
        """Every stream's version and state."""
        return {
            "epoch": self._rebuilding.epoch,
            "streams": {
                stream_id: {"version": held.version, "state": held.value()}
                for stream_id, held in self._rebuilding.states.items()
            },
        }
