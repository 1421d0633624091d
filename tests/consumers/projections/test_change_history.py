"""The example projection against the oracle that was computed without Kafka."""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any

from consumers.projections.partition_fold import PartitionFold
from examples.change_history import projection
from streams.envelope import IMPORT_SEQ
from streams.messages import parse_message
from streams.record import Record
from streams.topics.routing import route
from tests.consumers.projections.strategies import CODEC

DATA = Path(__file__).parents[2] / "data"
PARTITIONS = 5


def test_s3_18_the_small_history_yields_its_oracle() -> None:
    """Every key of the oracle, from partitions folded apart and merged last to first."""
    partitions: dict[int, list[Record]] = {index: [] for index in range(PARTITIONS)}
    with gzip.open(DATA / "history-small.jsonl.gz", "rt", encoding="utf-8") as lines:
        for seq, line in enumerate(lines, 1):
            envelope = parse_message(line, ttl_ms_default=0)
            envelope = envelope.with_(headers={**envelope.headers, IMPORT_SEQ: str(seq)})
            (place,) = route(envelope)
            index = sum(place.key) % PARTITIONS
            found = partitions[index]
            found.append(
                Record(place.topic, index, len(found), seq, place.key, CODEC.encode(envelope))
            )
    states: list[Any] = []
    for index in reversed(range(PARTITIONS)):
        fold = PartitionFold(projection, CODEC)
        fold.add(partitions[index])
        states.append(fold.finish()[0])
    oracle = json.loads((DATA / "history-small.oracle.json").read_text(encoding="utf-8"))
    assert projection.view(functools.reduce(projection.merge, states)) == oracle
