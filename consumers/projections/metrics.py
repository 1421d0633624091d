"""Metrics (S3.18): what was sent, from the envelopes; how it ended, from the journal.

| figure | from |
| --- | --- |
| messages_sent, by_sender, by_type, by_channel | data topics; a message to N inboxes counts once |
| agent_activity | sent, and addressed to the agent by name |
| throughput | messages sent over the span of their append times, at least one second |
| messages_received | journal: records handled, by every group |
| messages_failed, error_rates | journal: records with an error's class, whether it was overcome |
| messages_dead_lettered, _expired, _skipped | journal |
| average_delivery_time | journal: dispatch minus append time, ms; imports excluded |
| success_rate | handled over handled + dead-lettered |
| timestamp | the newest append time: never the clock |

All state is integers, so sums do not depend on the order. The journal knows positions, not
origins: a replay filtered by origin or agent folds no journal, and those figures are null.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from consumers.journal import OUTCOMES_RECORDED
from consumers.journal.histogram import quantile
from consumers.journal.outcomes import Outcome
from consumers.projections.columnar import Rows
from consumers.projections.filters import Filters
from consumers.projections.folding import add_counts, count, is_first_copy, widen
from consumers.projections.metrics_columns import count_rows
from streams.envelope import Envelope
from streams.record import Record
from streams.topics import CHANNELS, COMMANDS, EVENTS, INBOX, JOURNAL, REPLIES, TASKS

State = dict[str, Any]

DATA_TOPICS: Final = (TASKS, CHANNELS, INBOX, REPLIES, EVENTS, COMMANDS)
"""Where agents' data envelopes go."""

_SUMS: Final = ("sent", "delivered", "delivery_ms_sum", "failed", "journaled")
_COUNTS: Final = (
    "by_sender",
    "by_type",
    "by_channel",
    "addressed",
    "outcomes",
    "errors",
    "delivery_buckets",
)
_EARLIEST: Final = ("first_sent_ms",)
_LATEST: Final = ("last_sent_ms", "latest_ms")


class Metrics(msgspec.Struct, frozen=True):
    """The metrics projection."""

    name: str = "metrics"
    version: int = 1
    topics: tuple[str, ...] = (*DATA_TOPICS, JOURNAL)

    def initial(self) -> State:
        """Nothing sent, nothing received."""
        return {
            **dict.fromkeys(_SUMS, 0),
            **{name: {} for name in _COUNTS},
            **dict.fromkeys((*_EARLIEST, *_LATEST)),
        }

    def apply(self, state: State, record: Record, envelope: Envelope) -> State:
        """Count one envelope, or what one journal record says."""
        if envelope.type == OUTCOMES_RECORDED:
            _count_outcomes(state, envelope.payload)
        elif is_first_copy(record.topic, record.key, envelope.recipients, envelope.reply_to):
            state["sent"] += 1
            count(state["by_sender"], envelope.sender)
            count(state["by_type"], envelope.kind.value)
            if envelope.channel_id is not None:
                count(state["by_channel"], envelope.channel_id)
            for agent in envelope.recipients:
                count(state["addressed"], agent)
            widen(state, "sent_ms", record.appended_at_ms, record.appended_at_ms)
        state["latest_ms"] = max(state["latest_ms"] or 0, record.appended_at_ms)
        return state

    columnar_topics: tuple[str, ...] = DATA_TOPICS

    def apply_rows(self, state: State, rows: Rows, filters: Filters) -> State:
        """As `apply`, for many envelopes of one data topic."""
        count_rows(state, rows, filters)
        return state

    def merge(self, a: State, b: State) -> State:
        """Sums add up, spans widen."""
        for name in _SUMS:
            a[name] += b[name]
        for name in _COUNTS:
            add_counts(a[name], b[name])
        for names, better in ((_EARLIEST, min), (_LATEST, max)):
            for name in names:
                known = [state[name] for state in (a, b) if state[name] is not None]
                a[name] = better(known, default=None)
        return a

    def view(self, state: State) -> dict[str, Any]:
        """The report of S3.18."""
        return {**_sent(state), **_ended(state), "timestamp": _rfc3339(state["latest_ms"])}


def _count_outcomes(state: State, payload: Mapping[str, Any]) -> None:
    finished = payload["finished"]
    state["journaled"] += 1
    for ended in finished:
        count(state["outcomes"], ended["outcome"], sum(ended["runs"][1::2]))
    for bucket in payload["delivery_buckets"]:
        count(state["delivery_buckets"], bucket["index"], bucket["count"])
        state["delivered"] += bucket["count"]
    state["delivery_ms_sum"] += payload["delivery_ms_sum"]
    for exception in payload["exceptions"]:
        if exception["outcome"] in {Outcome.HANDLED, Outcome.DEAD_LETTERED}:
            state["failed"] += 1
            count(state["errors"], exception["reason"])


def _sent(state: State) -> dict[str, Any]:
    sent: int = state["sent"]
    span_s = max((state["last_sent_ms"] or 0) - (state["first_sent_ms"] or 0), 1000) / 1000
    agents = sorted({*state["by_sender"], *state["addressed"]})
    return {
        "messages_sent": sent,
        "throughput": {
            "per_second": round(sent / span_s, 3),
            "per_minute": round(60 * sent / span_s, 3),
        },
        "agent_activity": {
            agent: {
                "sent": state["by_sender"].get(agent, 0),
                "addressed": state["addressed"].get(agent, 0),
            }
            for agent in agents
        },
        "by_sender": dict(sorted(state["by_sender"].items())),
        "by_type": dict(sorted(state["by_type"].items())),
        "by_channel": dict(sorted(state["by_channel"].items())),
    }


def _ended(state: State) -> dict[str, Any]:
    known = bool(state["journaled"])
    outcomes, errors = state["outcomes"], state["errors"]
    handled, dead = outcomes.get(Outcome.HANDLED, 0), outcomes.get(Outcome.DEAD_LETTERED, 0)
    delivered, buckets = state["delivered"], state["delivery_buckets"]
    return {
        "messages_received": handled if known else None,
        "messages_failed": state["failed"] if known else None,
        "messages_dead_lettered": dead if known else None,
        "messages_expired": outcomes.get(Outcome.EXPIRED, 0) if known else None,
        "messages_skipped": outcomes.get(Outcome.SKIPPED, 0) if known else None,
        "average_delivery_time": _ratio(state["delivery_ms_sum"], delivered),
        "delivery_time_p50": quantile(buckets, 0.5),
        "delivery_time_p99": quantile(buckets, 0.99),
        "error_rates": {name: _ratio(n, handled + dead) for name, n in sorted(errors.items())},
        "success_rate": _ratio(handled, handled + dead),
    }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _rfc3339(epoch_ms: int | None) -> str | None:
    if epoch_ms is None:
        return None
    instant = datetime.fromtimestamp(epoch_ms / 1000, UTC)
    return instant.isoformat(timespec="milliseconds").replace("+00:00", "Z")
