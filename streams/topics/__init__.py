"""Topics: which there are, where an envelope goes, and how a cluster is brought to the catalogue.

- catalogue      every topic as data; `Namespace`
- routing        envelope → (topic, key)
- partitioning   key → partition, as Kafka's murmur2 does it
- provisioning   catalogue and cluster → plan
- strimzi        catalogue → Kubernetes resources
"""

from streams.topics.catalogue import (
    AGENT_TOPICS,
    CHANNELS,
    COMMANDS,
    CONTROL,
    EVENTS,
    INBOX,
    JOURNAL,
    REGISTRY,
    REPLIES,
    SCHEMAS,
    SNAPSHOTS,
    STATE,
    TASKS,
    TOPICS,
    Namespace,
    Topic,
    dlq,
)

__all__ = [
    "AGENT_TOPICS",
    "CHANNELS",
    "COMMANDS",
    "CONTROL",
    "EVENTS",
    "INBOX",
    "JOURNAL",
    "REGISTRY",
    "REPLIES",
    "SCHEMAS",
    "SNAPSHOTS",
    "STATE",
    "TASKS",
    "TOPICS",
    "Namespace",
    "Topic",
    "dlq",
]
