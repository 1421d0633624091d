"""What a worker says about itself when it is asked: exactly what `WorkerReported` holds. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from streams.envelope import Envelope, Kind
from streams.errors import DecodeError

WORKER_REPORTED: Final = "agentlog.worker.WorkerReported"

_CLIENT_ID: Final = "agentlog-worker-"
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TIMES: Final = ("started_at", "reported_at")


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One partition that a worker owns."""

    topic: str
    """Full name."""
    partition: int
    committed: int
    """Committed position."""
    read_to: int
    """Position that it will read next."""
    in_flight: int
    """Records between the two that have not been committed."""
    beyond: int
    """Records committed beyond the committed position."""


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One worker process at one moment. Times are UTC microseconds since the epoch."""

    group: str
    """Full name."""
    run_id: str
    host: str
    pid: int
    started_at: int
    reported_at: int
    in_flight: int
    """Records that it holds: waiting, running, and finished but not committed."""
    in_flight_bytes: int
    """Bytes of these, outputs included."""
    waiting: int
    """Records that wait for their key or for room to run."""
    running: int
    """Records in handlers."""
    retrying: int
    """Records whose key waits for another attempt."""
    oldest_key: str | None = None
    """Key of the record that has waited longest; None if none waits."""
    oldest_ms: int = 0
    """Age of that record since it was appended, milliseconds."""
    partitions: tuple[PartitionStatus, ...] = ()

    @property
    def commit_gap(self) -> int:
        """Positions that it has read and not committed, over all its partitions."""
        return sum(max(0, one.read_to - one.committed) for one in self.partitions)

    @property
    def beyond(self) -> int:
        """Records committed beyond the committed positions, over all its partitions."""
        return sum(one.beyond for one in self.partitions)


def status_answer(request: Envelope, status: WorkerStatus) -> Envelope:
    """The answer to a `ReportStatus`, not stamped yet. It routes to `replies`."""
    return Envelope(
        type=WORKER_REPORTED,
        kind=Kind.RESPONSE,
        recipients=(request.sender,) if request.sender else (),
        reply_to=request.reply_to,
        correlation_id=request.correlation_id or request.id,
        causation_id=request.id,
        payload=msgspec.to_builtins(status),
    )


def read_status(envelope: Envelope) -> WorkerStatus:
    """What a `WorkerReported` says. Raises `DecodeError` if it is none or cannot be read."""
    if envelope.type != WORKER_REPORTED:
        raise DecodeError(f"{envelope.id} is of type {envelope.type}, not {WORKER_REPORTED}")
    fields: dict[str, Any] = dict(envelope.payload)
    for name in _TIMES:
        if isinstance(fields.get(name), datetime):
            fields[name] = (fields[name] - _EPOCH) // timedelta(microseconds=1)
    try:
        return msgspec.convert(fields, WorkerStatus)
    except msgspec.ValidationError as error:
        raise DecodeError(f"{WORKER_REPORTED} {envelope.id}: {error}") from error


def client_id(run_id: str) -> str:
    """The `client.id` of a worker's consumer: it makes a member of the group a known worker."""
    return f"{_CLIENT_ID}{run_id}"


def run_id_of(client: str) -> str | None:
    """The inverse of `client_id`; None for the id of anything but a worker."""
    return client.removeprefix(_CLIENT_ID) if client.startswith(_CLIENT_ID) else None
