"""The topic catalogue as Kubernetes resources: one Strimzi `KafkaTopic` per topic, as YAML.

Written as text, for it is flat: every scalar that YAML might read otherwise is a quoted string.
"""

from __future__ import annotations

import json
from typing import Final

from streams.topics import TOPICS, Namespace, Topic
from streams.topics.provisioning import REPLICATION_MAX, desired_config

API_VERSION: Final = "kafka.strimzi.io/v1"
CLUSTER: Final = "agentlog"
"""Name of the `Kafka` resource that the topics belong to."""

_HEAD: Final = """\
# The topics of one namespace, for Strimzi's topic operator. Generated, do not edit:
#   agentlog topics list --k8s > k8s/topics.yaml
"""


def topic_resources(
    namespace: Namespace, *, replication: int = REPLICATION_MAX, cluster: str = CLUSTER
) -> str:
    """The YAML of all topics of a namespace."""
    return _HEAD + "".join(
        _resource(namespace.topic(topic.name), topic, replication, cluster)
        for topic in TOPICS.values()
    )


def _resource(full: str, topic: Topic, replication: int, cluster: str) -> str:
    config = "".join(
        f"    {name}: {json.dumps(value)}\n"
        for name, value in sorted(desired_config(topic, replication).items())
    )
    return f"""\
---
# Key: {topic.key}.
apiVersion: {API_VERSION}
kind: KafkaTopic
metadata:
  name: {json.dumps(full)}
  labels:
    strimzi.io/cluster: {json.dumps(cluster)}
spec:
  topicName: {json.dumps(full)}
  partitions: {topic.partitions}
  replicas: {replication}
  config:
{config}"""
