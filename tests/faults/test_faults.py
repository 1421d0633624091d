"""The fault suite's short form: the same faults, fewer records, shorter absences.

`make faults` is the whole of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
import pytest

from tests.faults import network_faults, owner_faults, worker_faults
from tests.faults.broker_faults import controller, killed, paused
from tests.faults.cluster import Cluster
from tests.faults.record_kinds import FORGOTTEN, TWICE
from tests.faults.roles import coordinator_partition, group_coordinator, java_hash
from tests.faults.run import Row, run_fault
from tests.faults.stage import During, Fault, NothingWorks, Placement, Stage
from tests.faults.table import FAULTS

RECORDS: Final = 1_500
PACE_S: Final = 10.0
WAVE: Final = 3
"""Rows side by side, each with two processes: they share two cores."""
KILLED_S: Final = 2.0
PAUSED_S: Final = 5.0
"""Another node controls by then; what this one leads and coordinates stays with it (9 s)."""
STORM_S: Final = 8.0
DEATHS: Final = 2
FORKS: Final = 2

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes for all tests here."""
    with Cluster() as nodes:
        asyncio.run(nodes.warm_up())
        yield nodes


async def run(fault: Fault, cluster: Cluster) -> Row:
    """One row; once more, if nothing worked even before the fault (a machine that others use)."""
    short = msgspec.structs.replace(fault, pace_s=PACE_S)
    try:
        return await run_fault(short, cluster, RECORDS, print)
    except NothingWorks:
        return await run_fault(short, cluster, RECORDS, print)


async def nothing(stage: Stage) -> None:
    del stage


def shortened(name: str, during: During) -> Fault:
    return msgspec.structs.replace(FAULTS[name], during=during)


BESIDE_BROKERS: Final = (
    shortened("kill_worker", worker_faults.kill_workers(1)),
    shortened("zombie", worker_faults.make_zombies([1.0])),
    shortened("rebalance_storm", worker_faults.storms(STORM_S)),
    shortened("end_txn_held", network_faults.hold_end_txns(1)),
    shortened("partition_by_proxy", network_faults.partition(2.0)),
    msgspec.structs.replace(
        shortened("owner_killed", owner_faults.die_deciding(DEATHS)),
        special=owner_faults.mortal(DEATHS),
    ),
    shortened("fork_attempt", owner_faults.fork(FORKS)),
)
OF_BROKERS: Final = tuple(
    Fault(
        name=f"{how}_every_role",
        what="the node that coordinates the group and all transactions, and controls",
        during=during,
        placement=Placement.TOGETHER,
    )
    for how, during in (
        ("kill", killed(controller, KILLED_S)),
        ("pause", paused(controller, PAUSED_S)),
    )
)
PLANTED: Final = Fault(
    name="planted",
    what="a handler that forgets one task and answers another twice",
    during=nothing,
    special=lambda records: {records // 3: FORGOTTEN, records // 4: TWICE},
)


@pytest.fixture(scope="module")
def side_by_side(cluster: Cluster) -> dict[str, Row]:
    """Faults that leave the brokers alone, each in a namespace of its own, a few at a time."""
    faults = (*BESIDE_BROKERS, PLANTED)

    async def all_of_them() -> list[Row]:
        rows: list[Row] = []
        for first in range(0, len(faults), WAVE):
            wave = faults[first : first + WAVE]
            rows += await asyncio.gather(*(run(fault, cluster) for fault in wave))
        return rows

    return {row.name: row for row in asyncio.run(all_of_them())}


def check_whole(row: Row, fault: Fault) -> None:
    assert row.status == "passed", msgspec.json.encode(row).decode()  # whole: notes say why
    assert not any(verdict.count for verdict in row.verdicts.values()), row
    assert row.records >= RECORDS // 2, row
    hops = fault.ground.hops
    assert row.outcomes == {"handled": hops * row.records}, row
    assert row.handler_starts >= hops * row.records


@pytest.mark.parametrize("name", [fault.name for fault in BESIDE_BROKERS])
def test_a_fault_beside_the_brokers_leaves_the_log_whole(
    name: str, side_by_side: dict[str, Row]
) -> None:
    """Nothing lost, duplicated, reordered, torn or stuck; the group's own audit agrees."""
    check_whole(side_by_side[name], FAULTS[name])


@pytest.mark.parametrize("fault", OF_BROKERS, ids=lambda fault: fault.name)
async def test_a_node_of_every_role_lost_leaves_the_log_whole(
    fault: Fault, cluster: Cluster
) -> None:
    """Whatever it had under way is committed or aborted, never half of it."""
    check_whole(await run(fault, cluster), fault)


def test_what_is_planted_in_a_run_is_found(side_by_side: dict[str, Row]) -> None:
    """One task lost, and torn from its position; one there twice, at both hops."""
    row = side_by_side[PLANTED.name]
    assert row.status == "failed"
    found = {name: verdict.count for name, verdict in row.verdicts.items() if verdict.count}
    assert found == {"lost": 1, "torn": 1, "duplicated": 2}
    assert (row.audit["lost"], row.audit["duplicated"]) == (1, 1)


async def test_the_coordinator_found_is_the_one_that_kafka_names(cluster: Cluster) -> None:
    """The hash is Java's, and so is the modulus."""
    assert (java_hash("hello"), java_hash("agentlog.pipeline")) == (99_162_322, -1_945_089_647)
    assert coordinator_partition("agentlog.pipeline", 8) == 7
    assert coordinator_partition("polygenelubricants", 8) == 0  # hashes to the smallest number
    answer = cluster.admin.describe_consumer_groups(["warm-up"])["warm-up"]
    named = await asyncio.to_thread(answer.result, 20)
    assert await asyncio.to_thread(group_coordinator, cluster, "warm-up") == named.coordinator.id
