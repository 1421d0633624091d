"""The journal: how every record of a group ended, written in the transaction that ended it.

Per commit and source partition one `OutcomesRecorded` (in parts, if it names more than
`EXCEPTIONS_MAX` records one by one). It moves the partition's committed position from
`prefix_from` to `prefix_to` and says of every position that finished how it did, also of those
beyond the prefix. Imports and positions nobody can see have no delivery time; invisible positions
are in no set.

`consumers.journal.tiling` has the arithmetic that reads it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from consumers.journal.histogram import bucket_of
from consumers.journal.outcomes import DETAIL_MAX, REASON_MAX, Delivery, Outcome, Settled
from consumers.journal.runs import encode_runs
from streams.envelope import Envelope
from streams.identity import derived_id
from streams.record import Partition

OUTCOMES_RECORDED: Final = "agentlog.journal.OutcomesRecorded"
EXCEPTIONS_MAX: Final = 500
"""Records that one journal record names one by one, in at most about 700 bytes each."""
FINISHED_MAX: Final = 50_000
"""Records that one journal record speaks of: both bounds keep it well below 1 MB."""


class PartitionCommit(msgspec.Struct, frozen=True):
    """What one commit settles on one source partition; `settled` in position order, also beyond
    `prefix_to`.
    """

    source: Partition
    prefix_from: int
    prefix_to: int
    settled: Sequence[Settled]


def journal_envelopes(
    group: str,
    commit: PartitionCommit,
    *,
    writer: str,
    now_us: int,
    delivery: Delivery = Delivery.EXACTLY_ONCE,
) -> Iterator[Envelope]:
    """The journal of one commit on one partition: one envelope, or several parts that tile it.

    Ids are derived from the group, the source partition, the first position that finished and the
    prefix; `writer` is the process run that commits. The key on the log is the group and its source
    partition.
    """
    source = commit.source
    for prefix_from, prefix_to, settled in _parts(commit):
        appended_at_ms = settled[0].appended_at_ms if settled else now_us // 1000
        first = f"{group}@{settled[0].position}" if settled else group
        yield Envelope(
            type=OUTCOMES_RECORDED,
            payload=journal_payload(
                group, PartitionCommit(source, prefix_from, prefix_to, settled), delivery
            ),
            id=derived_id(
                appended_at_ms, source.topic, source.index, prefix_from, first, prefix_to
            ),
            sender=group,
            created_at=now_us,
            writer=writer,
        )


def journal_payload(
    group: str, commit: PartitionCommit, delivery: Delivery = Delivery.EXACTLY_ONCE
) -> dict[str, Any]:
    """The `OutcomesRecorded` payload of one commit on one partition."""
    ended: dict[Outcome, list[int]] = {}
    times: Counter[int] = Counter()
    exceptions = []
    for one in commit.settled:
        ended.setdefault(one.ending.outcome, []).append(one.position)
        if one.delivery_ms is not None:
            times[one.delivery_ms] += 1
        if _named(one):
            exceptions.append(_exception(one))
    buckets: Counter[int] = Counter()
    for delivery_ms, count in times.items():
        buckets[bucket_of(delivery_ms)] += count
    return {
        "group": group,
        "topic": commit.source.topic,
        "partition": commit.source.index,
        "prefix_from": commit.prefix_from,
        "prefix_to": commit.prefix_to,
        "finished": [
            {"outcome": outcome.value, "runs": encode_runs(ended[outcome])}
            for outcome in Outcome
            if outcome in ended
        ],
        "delivery_buckets": [
            {"index": index, "count": count} for index, count in sorted(buckets.items())
        ],
        "delivery_ms_sum": sum(max(ms, 0) * count for ms, count in times.items()),
        "exceptions": exceptions,
        "delivery": delivery.value,
    }


def _named(one: Settled) -> bool:
    """Whether the journal names it: it was not simply handled."""
    return one.ending.outcome is not Outcome.HANDLED or bool(one.ending.reason)


def _exception(one: Settled) -> Mapping[str, Any]:
    return {
        "position": one.position,
        "id": one.id,
        "outcome": one.ending.outcome.value,
        "reason": str(one.ending.reason)[:REASON_MAX],
        "detail": one.ending.detail.encode("utf-8", "replace")[:DETAIL_MAX].decode(
            "utf-8", "ignore"
        ),
    }


def _parts(commit: PartitionCommit) -> Iterator[tuple[int, int, Sequence[Settled]]]:
    """Consecutive (prefix_from, prefix_to, settled) with at most EXCEPTIONS_MAX named each."""
    named = begin = 0
    prefix_from, end = commit.prefix_from, commit.prefix_to
    for index, one in enumerate(commit.settled):
        exceptional = _named(one)
        if named + exceptional > EXCEPTIONS_MAX or index - begin >= FINISHED_MAX:
            prefix_to = min(one.position, end)
            yield prefix_from, prefix_to, commit.settled[begin:index]
            prefix_from, begin, named = prefix_to, index, 0
        named += exceptional
    yield prefix_from, end, commit.settled[begin:]
