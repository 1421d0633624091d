"""The fault suite's short form: the same faults, fewer records, shorter absences.

`make faults` is the whole of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
import pytest

from tests.faults.broker_faults import killed, transaction_coordinator
from tests.faults.cluster import Cluster
from tests.faults.record_kinds import FORGOTTEN, TWICE
from tests.faults.roles import coordinator_partition, group_coordinator, java_hash
from tests.faults.run import Row, run_fault
from tests.faults.stage import Fault, Stage
from tests.faults.table import FAULTS
from tests.faults.worker_faults import kill_workers, make_zombies

RECORDS: Final = 3_000
PACE_S: Final = 5.0
AWAY_S: Final = 2.0

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes for all tests here."""
    with Cluster() as nodes:
        asyncio.run(nodes.warm_up())
        yield nodes


async def run(fault: Fault, cluster: Cluster) -> Row:
    row = await run_fault(msgspec.structs.replace(fault, pace_s=PACE_S), cluster, RECORDS, print)
    assert row.outcomes == {"handled": 2 * RECORDS} or not row.clean, row
    return row


@pytest.mark.parametrize(
    "fault",
    [
        msgspec.structs.replace(FAULTS["kill_worker"], during=kill_workers(1)),
        msgspec.structs.replace(FAULTS["zombie"], during=make_zombies([1.0])),
        msgspec.structs.replace(
            FAULTS["kill_transaction_coordinator"],
            during=killed(transaction_coordinator, AWAY_S),
        ),
    ],
    ids=lambda fault: fault.name,
)
async def test_a_fault_leaves_the_log_whole(fault: Fault, cluster: Cluster) -> None:
    """Nothing lost, duplicated, reordered, torn or stuck; the group's own audit agrees."""
    row = await run(fault, cluster)
    assert row.status == "passed", row
    assert not any(verdict.count for verdict in row.verdicts.values()), row
    assert row.handler_starts >= 2 * RECORDS


async def test_what_is_planted_in_a_run_is_found(cluster: Cluster) -> None:
    """A handler that swallows a task and one that answers twice: the row says so, and fails."""

    async def nothing(stage: Stage) -> None:
        del stage

    planted = Fault(
        name="planted",
        what="a handler that loses one record and doubles another",
        during=nothing,
        special=lambda records: {records // 2: FORGOTTEN, records // 3: TWICE},
    )
    row = await run(planted, cluster)
    assert row.status == "failed"
    found = {name: verdict.count for name, verdict in row.verdicts.items() if verdict.count}
    assert found == {"lost": 1, "torn": 1, "duplicated": 2}  # at both hops
    assert row.audit["lost"] == 1
    assert row.audit["duplicated"] == 1


async def test_the_coordinator_found_is_the_one_that_kafka_names(cluster: Cluster) -> None:
    """The hash is Java's, and so is the modulus."""
    assert (java_hash("hello"), java_hash("agentlog.pipeline")) == (99_162_322, -1_945_089_647)
    assert coordinator_partition("agentlog.pipeline", 8) == 7
    assert coordinator_partition("polygenelubricants", 8) == 0  # hashes to the smallest number
    answer = cluster.admin.describe_consumer_groups(["warm-up"])["warm-up"]
    named = await asyncio.to_thread(answer.result, 20)
    assert await asyncio.to_thread(group_coordinator, cluster, "warm-up") == named.coordinator.id
