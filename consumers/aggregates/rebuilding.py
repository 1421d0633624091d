"""Rebuilding: the records of one `events` partition, folded into the states of its streams.

What the log must keep, and what is checked at every event:

- a stream's versions count 1, 2, 3, …: a gap is a lost event, a repetition two writers (a fork);
- a partition's writer epochs never decrease: a writer that was replaced has written no more;
- where an event says what the state was when it was decided (`STATE_DIGEST`), the rebuilt state is
  the same: else `evolve` is not what it was, or not a function of its arguments.

Other records of the partition pass: an envelope without a version belongs to no stream, whatever
its key.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from consumers.aggregates.aggregate import SEPARATOR, Aggregate, Event
from consumers.aggregates.states import StateTable, StreamState
from streams.digest import digest
from streams.envelope import Envelope
from streams.errors import ConfigurationError, DecodeError, LogError
from streams.headers import header
from streams.record import Record
from streams.schemas import Codec

STATE_DIGEST: Final = "agentlog_statedigest"
"""Kafka header of a command's last event: the digest of the state after it, shortened."""
DIGEST_DIGITS: Final = 32


class StreamBroken(LogError):
    """The events of a stream are not one unbroken history; the message has the position."""


class StateDiffers(LogError):
    """A rebuilt state is not the one that was decided on; the message has the position."""


def short_digest(state: Any) -> str:
    """What `STATE_DIGEST` says of a state. Raises `NotDigestible`."""
    return digest(state).removeprefix("sha256:")[:DIGEST_DIGITS]


class Rebuilding:
    """Folds records in order. `verify` compares with every digest on the log."""

    def __init__(
        self,
        aggregates: Iterable[Aggregate],
        codec: Codec,
        states: StateTable,
        *,
        epoch: int = 0,
        verify: bool = False,
    ) -> None:
        self._aggregates: Mapping[str, Aggregate] = {one.name: one for one in aggregates}
        self._fronts = tuple((one + SEPARATOR).encode() for one in self._aggregates)
        self._codec = codec
        self._verify = verify
        self.states = states
        self.epoch = epoch
        """The highest writer epoch so far."""
        self.events = 0
        """How many were folded."""
        self.verified = 0
        """How many of them said what the state was, and were right."""

    def add(self, records: Sequence[Record]) -> None:
        """Fold a batch. Raises `StreamBroken`, `StateDiffers`; `LogError` for an event that cannot
        be read or that `evolve` fails on. Nothing of that event is in the states then.
        """
        for record in records:
            if record.key is not None and record.key.startswith(self._fronts):
                self._add(record)

    def _add(self, record: Record) -> None:
        try:
            envelope = self._codec.decode(record.value, record.headers)
            version, stream_id = envelope.stream_version, envelope.stream_id
            if version is None or stream_id is None:
                return
            aggregate = self._aggregates.get(stream_id.partition(SEPARATOR)[0])
            if aggregate is None:
                return
            self._fold(aggregate, record, envelope, stream_id, version)
        except DecodeError as error:
            raise LogError(
                f"{record} cannot be read, and the states behind it depend on it: {error}"
            ) from error

    def _fold(
        self, aggregate: Aggregate, record: Record, envelope: Envelope, stream_id: str, version: int
    ) -> None:
        held = self.states.get(stream_id)
        at = held.version if held is not None else 0
        if version != at + 1:
            raise StreamBroken(_broken(record, stream_id, version, at))
        epoch = envelope.writer_epoch or 0
        if epoch < self.epoch:
            raise StreamBroken(
                f"{record}: {stream_id} was written by {envelope.writer} under epoch {epoch}, "
                f"after epoch {self.epoch} had begun: two writers"
            )
        before = held.value() if held is not None else aggregate.initial()
        event = Event(stream_id, envelope.payload, envelope, version)
        try:
            after = aggregate.evolved(before, event)
            folded = StreamState.of(version, after)
        except DecodeError:
            raise
        except ConfigurationError as error:
            raise LogError(f"{record}: {error}") from error
        except Exception as error:
            raise LogError(
                f"{record}: aggregate {aggregate.name} cannot evolve {stream_id} with version "
                f"{version} ({envelope.type}): {type(error).__name__}: {error}"
            ) from error
        self._compare(record, stream_id, folded)
        self.states.put(stream_id, folded)
        self.epoch = epoch
        self.events += 1

    def _compare(self, record: Record, stream_id: str, folded: StreamState) -> None:
        said = header(record.headers, STATE_DIGEST) if self._verify else None
        if said is None:
            return
        found = short_digest(folded.value())
        if found.encode() != said:
            raise StateDiffers(
                f"{record}: version {folded.version} of {stream_id} evolves to a state with digest "
                f"{found}; when it was decided it was {said.decode('ascii', 'replace')}"
            )
        self.verified += 1


def _broken(record: Record, stream_id: str, version: int, at: int) -> str:
    if version <= at:
        return f"{record}: {stream_id} has version {version} twice: two writers"
    return f"{record}: {stream_id} goes from version {at} to {version}: events are missing"


def require_distinct(aggregates: Sequence[Aggregate]) -> None:
    """Raise `ConfigurationError` for two of one name, and for commands that two decide on."""
    seen: dict[str, str] = {}
    for one in aggregates:
        for what in (f"the name {one.name}", *(f"commands of {name}" for name in one.commands)):
            if what in seen:
                raise ConfigurationError(f"two aggregates have {what}: {seen[what]}, {one.name}")
            seen[what] = one.name
