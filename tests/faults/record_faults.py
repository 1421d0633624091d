"""Faults that records bring along: nobody can read them, their handlers fail, or kill."""

from __future__ import annotations

import asyncio
from typing import Final

from confluent_kafka import Consumer, TopicPartition

from consumers.marks import MARK_BYTES_MAX
from streams.kafka.configs import SILENT
from streams.topics import TASKS, TOPICS
from streams.topics.partitioning import partition_for
from tests.faults.load import KEYS, Load, key_of
from tests.faults.record_kinds import (
    DEAD_LETTERS,
    FLAKY,
    KILLER,
    POISON,
    SLOW,
    UNDECODABLE,
    UNKNOWN_SCHEMA,
    scattered,
)
from tests.faults.stage import DidNotHappen, Stage
from tests.faults.starts import special_starts

BAD_EACH: Final = 20
KILLERS: Final = 2
KILLERS_S_MAX: Final = 300.0
"""Each kills its process five times and more, and each time its session (6 s) has to end."""
FULL: Final = 0.85
"""A mark with so much of what Kafka keeps counts as full: what comes next may no longer fit."""


def bad_records(records: int) -> dict[int, str]:
    """Poison, flaky, undecodable and of unknown schema, over the middle of the load."""
    return scattered(records, POISON, FLAKY, UNDECODABLE, UNKNOWN_SCHEMA, each=BAD_EACH)


def killers(records: int) -> dict[int, str]:
    """Records that take their process along."""
    return scattered(records, KILLER, each=KILLERS)


def comb(records: int) -> dict[int, str]:
    """Every other key of each partition is slow once, at a tenth of the load: what is finished
    beyond it has as many gaps as can be.
    """
    first = records // 10 // KEYS * KEYS
    load = Load(records)
    by_partition: dict[int, list[int]] = {}
    for index in range(first, first + KEYS):
        key = key_of(load.task_id(index)).encode()
        by_partition.setdefault(partition_for(key, TOPICS[TASKS].partitions), []).append(index)
    return {index: SLOW for indexes in by_partition.values() for index in indexes[::2]}


async def dead_letters(stage: Stage) -> None:
    """Wait until all that must be dead letters are, and no more than these."""
    kinds = list(stage.load.special.values())
    wanted = sum(kind in DEAD_LETTERS for kind in kinds)
    await stage.until(
        lambda: stage.dead_letters() >= wanted, f"{wanted} dead letters", KILLERS_S_MAX
    )
    found = await asyncio.to_thread(stage.dead_letters)
    if found != wanted:
        raise DidNotHappen(f"{found} dead letters, not {wanted}")
    stage.notes["dead letters"] = (
        f"{found} of {len(kinds)} special records ({', '.join(sorted(set(kinds)))}); "
        f"started {special_starts(stage.folder)} times, {len(stage.fleet.deaths)} processes died"
    )


async def fill_marks(stage: Stage) -> None:
    """Wait until committed marks are full, then SIGKILL a worker: another reads them."""
    longest = 0

    def full() -> bool:
        nonlocal longest
        longest = max([longest, *(len(text) for text in _marks(stage))])
        return longest >= FULL * MARK_BYTES_MAX

    await stage.until(full, f"a mark of {FULL:.0%} of {MARK_BYTES_MAX} bytes is committed")
    victim = stage.fleet.processes[0]
    victim.kill()
    await asyncio.wait_for(victim.replaced.wait(), 60)
    await asyncio.to_thread(full)
    stage.notes["marks"] = f"the longest had {longest} of {MARK_BYTES_MAX} bytes"
    if longest > MARK_BYTES_MAX:
        raise DidNotHappen(f"a mark of {longest} bytes: Kafka would not have kept it")


def _marks(stage: Stage) -> list[str]:
    """The metadata committed with each position."""
    config = {"bootstrap.servers": stage.cluster.servers, "group.id": stage.group}
    consumer = Consumer(config, logger=SILENT)
    try:
        asked = [TopicPartition(*source) for source in stage.sources]
        return [found.metadata or "" for found in consumer.committed(asked, timeout=10)]
    finally:
        consumer.close()
