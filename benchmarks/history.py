"""The workload: envelopes like those of a repository's real history.

The 5,758 messages of `tests/data/history-small.jsonl.gz` (147 agents, 10 channels, heavily skewed),
repeated in laps; each lap has ids and correlation ids of its own. They carry no `origin`, so that
workers take them for work.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import Final

from streams.envelope import Envelope
from streams.identity import message_id
from streams.messages import parse_message

_FILE: Final = Path(__file__).parent.parent / "tests" / "data" / "history-small.jsonl.gz"


def history(length: int) -> list[Envelope]:
    """So many stamped envelopes, no two of one id."""
    return list(endless_history(length))


def endless_history(length: int) -> Iterator[Envelope]:
    """The same, one after another: for more than memory should hold."""
    with gzip.open(_FILE) as lines:
        once = [parse_message(line, ttl_ms_default=0) for line in lines]
    laps = (_in_lap(envelope, lap) for lap in count() for envelope in once)
    return islice(laps, length)


def _in_lap(envelope: Envelope, lap: int) -> Envelope:
    suffix = envelope.id.rpartition("-")[2]
    return envelope.with_(
        id=message_id(envelope.created_at // 1000 + lap, suffix),
        correlation_id=f"{envelope.correlation_id}-{lap}",
    )
