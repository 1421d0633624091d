"""Who does what in the cluster: leads a partition, coordinates a group or a transaction, controls.

Group and transaction coordinators are the leaders of the partition of Kafka's internal topic that
the id hashes to (Java's `String.hashCode`, Kafka's `Utils.abs`, modulo the partitions: see
`GroupCoordinatorService.partitionFor` and `TransactionStateManager.partitionFor`). The controller
is asked of Kafka's own quorum tool: to clients a KRaft broker names any broker as controller.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Final

from streams.brokers.embedded import tool_command
from tests.faults.cluster import Cluster

OFFSETS: Final = "__consumer_offsets"
TRANSACTIONS: Final = "__transaction_state"
ASK_S_MAX: Final = 30.0
_INT_MIN: Final = -(1 << 31)
_LEADER: Final = re.compile(r"^LeaderId:\s+(\d+)$", re.MULTILINE)


def java_hash(text: str) -> int:
    """Java's `String.hashCode` of an ASCII text, as a signed 32-bit number."""
    found = 0
    for char in text:
        found = (31 * found + ord(char)) & 0xFFFFFFFF
    return found - 0x1_0000_0000 if found >= 0x8000_0000 else found


def coordinator_partition(identity: str, partitions: int) -> int:
    """Which partition of an internal topic a group or transactional id belongs to."""
    hashed = java_hash(identity)
    return (0 if hashed == _INT_MIN else abs(hashed)) % partitions


def leaders(cluster: Cluster, topic: str) -> dict[int, int]:
    """The leading node of every partition of a topic (full name)."""
    found = cluster.admin.list_topics(topic, timeout=ASK_S_MAX).topics[topic]
    return {index: partition.leader for index, partition in found.partitions.items()}


def _coordinator(cluster: Cluster, topic: str, identity: str) -> int:
    led = leaders(cluster, topic)
    if not led:
        raise RuntimeError(f"{topic} does not exist yet: nothing has committed")
    return led[coordinator_partition(identity, len(led))]


def group_coordinator(cluster: Cluster, group: str) -> int:
    """The node that coordinates a group (full name)."""
    return _coordinator(cluster, OFFSETS, group)


def transaction_coordinator(cluster: Cluster, transactional_id: str) -> int:
    """The node that coordinates a transactional id's transactions."""
    return _coordinator(cluster, TRANSACTIONS, transactional_id)


async def known_controller(cluster: Cluster) -> int:
    """The same, as last heard: to ask takes a JVM."""
    return await controller(cluster) if cluster.controller is None else cluster.controller


async def controller(cluster: Cluster) -> int:
    """The node that leads the metadata quorum."""
    command = tool_command(
        "org.apache.kafka.tools.MetadataQuorumCommand",
        *("--bootstrap-server", cluster.servers, "describe", "--status"),
        heap_mb=64,
        jvm_flags=("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"),
    )
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(ASK_S_MAX):
        out, err = await process.communicate()
    leader = _LEADER.search(out.decode())
    if leader is None:
        raise RuntimeError(f"the quorum tool named no leader: {err.decode() or out.decode()}")
    cluster.controller = int(leader[1])
    return cluster.controller


async def all_roles(
    cluster: Cluster, *, topic: str, group: str, transactional_ids: Iterable[str]
) -> dict[int, str]:
    """What each node does for a pipeline, in words, for the report."""
    controls = await known_controller(cluster)

    def told() -> dict[int, str]:
        led = list(leaders(cluster, topic).values())
        coordinates = group_coordinator(cluster, group)
        transacts = [transaction_coordinator(cluster, one) for one in transactional_ids]
        return {
            node: "; ".join(
                [
                    f"leads {led.count(node)} of {len(led)}",
                    *(["group coordinator"] if coordinates == node else []),
                    *([f"{transacts.count(node)} transaction coordinators"] * (node in transacts)),
                    *(["controller"] if controls == node else []),
                ]
            )
            for node in cluster.ports
        }

    return await asyncio.to_thread(told)
