"""Ask a Kafka who it is: the one question that tells a working broker from an open port."""

from __future__ import annotations

from dataclasses import dataclass

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from streams.errors import BrokerError

REACHABLE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ClusterInfo:
    """What a cluster says about itself. `cluster_id` tells two clusters on one port apart.

    `broker_ids` are the brokers that the one who answered counts in: registered and not fenced.
    """

    cluster_id: str
    broker_ids: frozenset[int]


def describe_cluster(bootstrap_servers: str, *, timeout_s: float) -> ClusterInfo | None:
    """The cluster behind `bootstrap_servers`, or None if none answers within `timeout_s`."""
    # `log_level` 0: an unreachable broker is our caller's to report, once, not librdkafka's.
    client = AdminClient(
        {
            "bootstrap.servers": bootstrap_servers,
            "log_level": 0,
            "socket.connection.setup.timeout.ms": max(1000, int(timeout_s * 1000)),
            "reconnect.backoff.max.ms": 500,
        }
    )
    try:
        metadata = client.list_topics(timeout=timeout_s)
    except KafkaException:
        return None
    if not metadata.brokers or not metadata.cluster_id:
        return None
    return ClusterInfo(metadata.cluster_id, frozenset(metadata.brokers))


def require_reachable(
    bootstrap_servers: str, *, timeout_s: float = REACHABLE_TIMEOUT_S
) -> ClusterInfo:
    """The cluster behind `bootstrap_servers`; `BrokerError` if it does not answer."""
    info = describe_cluster(bootstrap_servers, timeout_s=timeout_s)
    if info is None:
        raise BrokerError(
            f"no Kafka answers at {bootstrap_servers} within {timeout_s:g} s: start it, correct "
            "AGENTLOG_BOOTSTRAP_SERVERS, or unset that to use the embedded Kafka"
        )
    return info
