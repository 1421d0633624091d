"""Faults of brokers, aimed at one role at a time; and all of them restarted in turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from tests.faults import roles
from tests.faults.stage import During, Placement, Stage

AWAY_S: Final = 15.0
"""Longer than the controller waits for a broker's heartbeat (9 s) and than a transaction may last
(10 s), so the cluster has moved on when the node is back."""

Role = Callable[[Stage], Awaitable[int]]


async def partition_leader(stage: Stage) -> int:
    """The node that leads most of what the pipeline reads, of those that coordinate nothing."""
    controls = await roles.controller(stage.cluster)
    led = await asyncio.to_thread(roles.leaders, stage.cluster, stage.source)
    return Counter(node for node in led.values() if node != controls).most_common(1)[0][0]


async def group_coordinator(stage: Stage) -> int:
    """The node that coordinates the pipeline's group."""
    return await asyncio.to_thread(roles.group_coordinator, stage.cluster, stage.group)


async def transaction_coordinator(stage: Stage) -> int:
    """The node that coordinates the transactions of all its processes."""
    transactional_id = stage.transactional_id(stage.fleet.processes[0].run_id)
    return await asyncio.to_thread(roles.transaction_coordinator, stage.cluster, transactional_id)


async def controller(stage: Stage) -> int:
    """The node that leads the metadata quorum."""
    return await roles.controller(stage.cluster)


ROLES: Final[dict[str, tuple[Role, Placement]]] = {
    "leader": (partition_leader, Placement.TOGETHER),
    "group_coordinator": (group_coordinator, Placement.APART),
    "transaction_coordinator": (transaction_coordinator, Placement.APART),
    "controller": (controller, Placement.APART),
}


def killed(role: Role, away_s: float = AWAY_S) -> During:
    """SIGKILL the node of that role; start it again when the others have taken over."""

    async def during(stage: Stage) -> None:
        node = await role(stage)
        await stage.note_roles()
        stage.strikes()
        stage.cluster.kill(node)
        await asyncio.sleep(away_s)
        await stage.cluster.restart(node)
        stage.notes["node"] = f"node {node} killed, started again after {away_s:g} s"

    return during


def paused(role: Role, away_s: float = AWAY_S) -> During:
    """SIGSTOP the node of that role; SIGCONT it when the others have taken over."""

    async def during(stage: Stage) -> None:
        node = await role(stage)
        await stage.note_roles()
        stage.strikes()
        stage.cluster.pause(node)
        await asyncio.sleep(away_s)
        stage.cluster.resume(node)
        stage.notes["node"] = f"node {node} paused for {away_s:g} s"

    return during


async def rolling_restart(stage: Stage) -> None:
    """SIGTERM and start every node, each when the one before it is in sync again."""
    for node in stage.cluster.ports:
        await stage.cluster.end(node)
        await stage.cluster.restart(node)
        await stage.cluster.whole()
    stage.notes["restarted"] = f"{len(stage.cluster.ports)} nodes"
